"""Success: does a message find its image among others, and an image its message."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from evals.language.corpus import Floats, Integers

_CHUNK = 1 << 24  # similarities held at once


def standings(text: NDArray[Any], image: NDArray[Any]) -> tuple[Integers, Integers]:
    """For both directions, (2, n) each: how many others score better than the own, how many equal.

    Row i of `text` and `image` (n, width) belong together. Row 0 is of messages that look for
    their image, row 1 of images that look for their message.
    """
    n = len(text)
    better, equal = np.zeros((2, n), dtype=np.int64), np.zeros((2, n), dtype=np.int64)
    text, image = np.asarray(text), np.asarray(image)
    step = max(1, _CHUNK // n)
    own = np.concatenate(
        # a copy: a diagonal alone would keep the whole product of its rows
        [np.diagonal(text[s : s + step] @ image.T, offset=s).copy() for s in range(0, n, step)]
    )
    for start in range(0, n, step):
        rows = slice(start, start + step)
        scores = text[rows] @ image.T  # (step, n)
        better[0, rows] = (scores > own[rows, None]).sum(axis=1)
        equal[0, rows] = (scores == own[rows, None]).sum(axis=1) - 1
        better[1] += (scores > own).sum(axis=0)
        equal[1] += (scores == own).sum(axis=0)
    equal[1] -= 1
    return better, equal


def recall(better: Integers, equal: Integers, *, k: int, gallery: int) -> Floats:
    """(n,) chance of being among the k best of a gallery: itself and gallery - 1 others of n - 1.

    It is the exact mean over all galleries and over all orders of what scores equal.
    """
    others = len(better) - 1
    above = np.arange(others + 1)
    # Few terms: scipy's own cdf sums as many as there are images, for each of them.
    table = sum(hypergeom.pmf(rank, others, above, gallery - 1) for rank in range(k))
    return _over_ties(np.asarray(table), better, equal)


def reciprocal_rank(better: Integers, equal: Integers, *, gallery: int) -> Floats:
    """(n,) mean of 1 / rank over the same galleries and orders."""
    n = len(better)
    above = np.arange(n)
    # E[1 / (1 + X)] of X ~ hypergeometric(n - 1, above, gallery - 1), in closed form
    table = (1 - hypergeom.pmf(0, n, above + 1, gallery)) * n / (gallery * (above + 1))
    return _over_ties(np.asarray(table), better, equal)


def _over_ties(table: Floats, better: Integers, equal: Integers) -> Floats:
    """The mean of table[better] ... table[better + equal]."""
    sums = np.concatenate(([0.0], np.cumsum(table)))
    return np.asarray((sums[better + equal + 1] - sums[better]) / (equal + 1))
