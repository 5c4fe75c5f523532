"""What a few seeds say about a point: mean, standard deviation, interval."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from scipy.special import stdtr, stdtrit

from pg_platform.store.table import SMALLEST_TOLD

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Resolution:
    """How finely a result is measured, which is known before there is any.

    A `share` lies in [0, 1]; where `images` is known it is that of so many images. A result with a
    `step` is a multiple of it.
    """

    share: bool = False
    images: int | None = None
    step: float = 0.0

    def variance(self, value: float) -> float:
        """What chance alone leaves to one result of about `value`: less than this is luck.

        A share p of M images varies by p(1 - p)/M where each image is a draw of its own: the
        binomial law. Its p is shrunk by two successes and two failures (Agresti and Coull 1998),
        as none or all of a few images does not mean none or all of many. A number that was rounded
        to steps varies by step^2/12 within its step (Sheppard 1898).
        """
        rounded = self.step**2 / 12
        if not self.share or self.images is None:
            return rounded
        share = (value * self.images + 2) / (self.images + 4)
        return rounded + share * (1 - share) / self.images


@dataclass(frozen=True)
class Summary:
    """Results of one point over its seeds, in the units of the results.

    `n` finite results have the mean `mean` and the standard deviation `sd` (n - 1 below the line),
    never less than their resolution leaves to chance; `low` and `high` are Student's 95 % interval
    of the mean with that deviation. What cannot be known is None: all of them at n = 0, all but
    the mean at n = 1. `excluded` counts results left out because they were NaN or infinite.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    excluded: int = 0


def summarise(results: Iterable[float], resolution: Resolution | None = None) -> Summary:
    """The summary of one result per seed; NaN and infinite results are excluded and counted.

    The interval of a share ends at 0 and 1: what is cut off holds no mean that a share can have,
    so the rest covers the true one as often as the whole did.
    """
    given, resolution = list(results), resolution or Resolution()
    values = [value for value in given if math.isfinite(value)]
    n, excluded = len(values), len(given) - len(values)
    if n == 0:
        return Summary(n, excluded=excluded)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(n, mean, excluded=excluded)
    sd = deviation(values, resolution.variance(mean))
    half = half_width(sd, n)
    low, high = mean - half, mean + half
    if resolution.share:
        low, high = max(low, 0.0), min(high, 1.0)
    return Summary(n, mean, sd, low, high, excluded)


def deviation(values: list[float], least_variance: float = 0.0) -> float:
    """The standard deviation of two values or more (n - 1 below the line), at least that."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return math.sqrt(max(squares / (len(values) - 1), least_variance))


def half_width(sd: float, n: int) -> float:
    """Half of Student's 95 % interval of a mean of `n` >= 2 values with deviation `sd`."""
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(n)


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
