"""How two points differ, seed by seed: Student's paired test, and Holm's correction of several."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from scipy.special import stdtr

from pg_platform.results.statistics import CONFIDENCE, deviation, half_width
from pg_platform.store.table import SMALLEST_TOLD

ALPHA = round(1 - CONFIDENCE, 12)
"""A corrected p below this tells two points apart."""


FEWEST = 3
"""Two differences that agree say nothing of how far they might have been apart."""


_ROUNDING = 1e-9


@dataclass(frozen=True)
class Paired:
    """Differences over `n` seeds, in the units of the results.

    `low` and `high` are Student's 95 % interval of their mean `mean`, `p` the two-sided p of the
    hypothesis that it is 0; it is never 0. What cannot be known is None: all of them at n = 0, all
    but the mean below FEWEST differences, and where there is no spread.
    """

    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired(
    differences: Mapping[int, float], *, least_variance: float = 0.0, most: float = math.inf
) -> Paired:
    """The paired t-test of one finite difference per seed.

    The deviation of the differences is at least the root of `least_variance`, what chance leaves
    to one of them; none lies beyond +-`most`, so that the interval ends there. Differences that
    are all equal, with nothing known of chance, have no spread to be tested by: then there is no
    interval, and a p only where they are 0, which is 1.
    """
    values = list(differences.values())
    assert all(map(math.isfinite, values)), f"differences that are not finite: {values}"
    n = len(values)
    if n == 0:
        return Paired(n)
    mean = math.fsum(values) / n
    if n < FEWEST:
        return Paired(n, mean)
    sd = deviation(values, least_variance)
    if sd <= _ROUNDING * max(map(abs, values)):
        return Paired(n, mean, p=None if mean else 1.0)
    half = half_width(sd, n)
    low, high = max(mean - half, -most), min(mean + half, most)
    two_sided = 2 * float(stdtr(n - 1, -abs(mean) / sd * math.sqrt(n)))
    return Paired(n, mean, low, high, max(two_sided, sys.float_info.min))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family, corrected for their number, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    scaled = ((len(order) - rank) * p_values[index] for rank, index in enumerate(order))
    corrected = dict(zip(order, accumulate(scaled, max), strict=True))
    return [min(1.0, corrected[index]) for index in range(len(p_values))]


def told(p: float) -> str:
    """A p as a person reads it: no p is 0, and below 0.001 its size means nothing."""
    return f"< {SMALLEST_TOLD:g}" if p < SMALLEST_TOLD else f"{p:.2g}"
