"""What a few seeds say about a point: mean, standard deviation, interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Results of one point over its seeds, in the units of the results.

    `n` finite results have the mean `mean` and the standard deviation `sd` (n - 1 below the
    line); `low` and `high` are Student's 95 % interval of the mean. What cannot be known is None:
    all of them at n = 0, all but the mean at n = 1. `excluded` counts results left out because
    they were NaN or infinite.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    excluded: int = 0


def summarise(results: Iterable[float]) -> Summary:
    """The summary of one result per seed; NaN and infinite results are excluded and counted."""
    given = list(results)
    values = [value for value in given if math.isfinite(value)]
    n, excluded = len(values), len(given) - len(values)
    if n == 0:
        return Summary(n, excluded=excluded)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(n, mean, excluded=excluded)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = half_width(sd, n)
    return Summary(n, mean, sd, mean - half, mean + half, excluded)


def half_width(sd: float, n: int) -> float:
    """Half of Student's 95 % interval of a mean of `n` >= 2 values with deviation `sd`."""
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(n)


def overlap(one: Summary, other: Summary) -> bool | None:
    """Whether two intervals share a value; None where one of them is unknown."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return None
    return one.low <= other.high and other.low <= one.high
