"""Success: does a message find its image among others, and an image its message."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from pg_platform.language.corpus import Floats, Integers
from pg_platform.progress import tracked

_TILE = 4096  # rows and columns of the similarities held at once


def standings(text: NDArray[Any], image: NDArray[Any]) -> tuple[Integers, Integers]:
    """For both directions, (2, n) each: how many others score better than the own, how many equal.

    Row i of `text` and `image` (n, width) belong together. Row 0 is of messages that look for
    their image, row 1 of images that look for their message.
    """
    n = len(text)
    better, equal = np.zeros((2, n), dtype=np.int64), np.zeros((2, n), dtype=np.int64)
    own = np.einsum("ij,ij->i", text, image, dtype=np.float64).astype(np.float32)
    parts = [slice(start, start + _TILE) for start in range(0, n, _TILE)]
    for rows in tracked(parts, "standings"):
        for columns in parts:
            # In double: the last digit of a product depends on its place, and ties must not.
            exact = text[rows].astype(np.float64) @ image[columns].T.astype(np.float64)
            scores = exact.astype(np.float32)
            for axis, mine, place in ((1, own[rows, None], rows), (0, own[None, columns], columns)):
                better[1 - axis, place] += (scores > mine).sum(axis=axis)
                equal[1 - axis, place] += (scores == mine).sum(axis=axis)
    return better, equal - 1  # each equals itself


def recall(better: Integers, equal: Integers, *, k: int, gallery: int) -> Floats:
    """(n,) chance of being among the k best of a gallery: itself and gallery - 1 others of n - 1.

    It is the exact mean over all galleries and over all orders of what scores equal.
    """
    others = len(better) - 1
    above = np.arange(others + 1)
    table = sum(_chance(rank, others, above, gallery - 1) for rank in range(k))
    return _over_ties(np.asarray(table), better, equal)


def reciprocal_rank(better: Integers, equal: Integers, *, gallery: int) -> Floats:
    """(n,) mean of 1 / rank over the same galleries and orders."""
    n = len(better)
    above = np.arange(n)
    # E[1 / (1 + X)] of X ~ hypergeometric(n - 1, above, gallery - 1), in closed form
    table = (1 - _chance(0, n, above + 1, gallery)) * n / (gallery * (above + 1))
    return _over_ties(table, better, equal)


def _chance(found: int, images: int, wanted: Integers, drawn: int) -> Floats:
    """Of finding so many of the `wanted` among `drawn` of all images: the hypergeometric law.

    As scipy.stats.hypergeom.pmf, which takes seconds for 50,000 values of `wanted`.
    """
    possible = (wanted >= found) & (images - wanted >= drawn - found)
    chance = np.zeros(len(wanted))
    wanted = wanted[possible]
    chance[possible] = np.exp(
        _log_choose(wanted, found)
        + _log_choose(images - wanted, drawn - found)
        - _log_choose(np.array([images]), drawn)
    )
    return chance


def _log_choose(many: Integers, few: int) -> Floats:
    return np.asarray(gammaln(many + 1.0) - gammaln(few + 1.0) - gammaln(many - few + 1.0))


def _over_ties(table: Floats, better: Integers, equal: Integers) -> Floats:
    """The mean of table[better] ... table[better + equal]."""
    sums = np.concatenate(([0.0], np.cumsum(table)))
    return np.asarray((sums[better + equal + 1] - sums[better]) / (equal + 1))
