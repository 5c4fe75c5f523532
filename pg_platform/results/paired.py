"""How two points differ, seed by seed: Student's paired test, and Holm's correction of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from scipy.special import stdtr

from pg_platform.results.statistics import CONFIDENCE, half_width

ALPHA = round(1 - CONFIDENCE, 12)
"""A corrected p below this tells two points apart."""


@dataclass(frozen=True)
class Paired:
    """Differences over `n` seeds, in the units of the results.

    `low` and `high` are Student's 95 % interval of their mean `mean`, `p` the two-sided p of the
    hypothesis that it is 0. What cannot be known is None: all of them at n = 0, all but the mean
    at n = 1.
    """

    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired(differences: Mapping[int, float]) -> Paired:
    """The paired t-test of one finite difference per seed.

    Where all differences are equal, their deviation and the width of the interval are 0 and p is
    its limit: 1 for differences of 0, else 0.
    """
    values = list(differences.values())
    assert all(map(math.isfinite, values)), f"differences that are not finite: {values}"
    n = len(values)
    if n == 0:
        return Paired(n)
    if n == 1:
        return Paired(n, values[0])
    if min(values) == max(values):
        return Paired(n, values[0], values[0], values[0], 0.0 if values[0] else 1.0)
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = half_width(sd, n)
    return Paired(n, mean, mean - half, mean + half, _two_sided(mean, sd, n))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family, corrected for their number, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    scaled = ((len(order) - rank) * p_values[index] for rank, index in enumerate(order))
    corrected = dict(zip(order, accumulate(scaled, max), strict=True))
    return [min(1.0, corrected[index]) for index in range(len(p_values))]


def _two_sided(mean: float, sd: float, n: int) -> float:
    """The share of Student's t beyond the mean's, on both sides."""
    if sd == 0:  # the squares of tiny deviations can vanish
        return 0.0 if mean else 1.0
    return 2 * float(stdtr(n - 1, -abs(mean) / sd * math.sqrt(n)))
