"""Whether the points of a sweep succeed more often than a guess."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence

from scipy.special import bdtrc, stdtr

from pg_platform.config.metrics import AREA
from pg_platform.report.statistics import FEWEST, Resolution, deviation

_POOL = re.compile(r"top(\d+)_pool(\d+)$")
_ROUNDING = 1e-9


def chance(metric: str) -> float | None:
    """Accuracy of a guess: k/pool for a metric named topk_poolN or its area, else None."""
    match = _POOL.search(metric.removesuffix(f":{AREA}"))
    return int(match[1]) / int(match[2]) if match else None


def pool(metric: str) -> int | None:
    """How many candidates there are, of a metric that `chance` knows."""
    match = _POOL.search(metric.removesuffix(f":{AREA}"))
    return int(match[2]) if match else None


def above_chance(results: Sequence[float], metric: str, resolution: Resolution) -> float:
    """The one-sided p of results of one point, one a seed, where all of them only guess.

    `metric` is one that `chance` knows. Two tests, each of which can find what the other cannot;
    from FEWEST seeds on p is twice the smaller of theirs (Bonferroni):

    - By images. Successes of all seeds against the binomial law, a seed counted as one pool of
      images, however many pools it was measured on. Agents that learned nothing can be right by an
      accident that repeats in each pool: they take one kind of image for another, a kind now and
      then for itself. The success of such agents varies by about chance itself between seeds, as
      over one pool, and more pools make it no more certain. Ties earn parts of a success; the sum
      is rounded down.
    - By seeds. Student's test of their mean against chance, whose deviation is at least what the
      images of a seed leave to chance.
    """
    guess, candidates = chance(metric), pool(metric)
    assert guess is not None, f"nobody knows the chance of {metric}"
    assert candidates is not None, f"nobody knows the pool of {metric}"
    n, total = len(results), math.fsum(results)
    successes = math.floor(total * candidates + _ROUNDING)
    by_images = 1.0 if successes == 0 else float(bdtrc(successes - 1, n * candidates, guess))
    if n < FEWEST:
        return max(by_images, sys.float_info.min)
    sd = deviation(list(results), resolution.variance(guess))
    by_seeds = float(stdtr(n - 1, (guess - total / n) / sd * math.sqrt(n))) if sd else 1.0
    return min(1.0, max(2 * min(by_images, by_seeds), sys.float_info.min))
