"""What theory says of languages, as formulas that share nothing with the metrics they are for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, spearmanr

from tests.toys import SENT, VOCABULARY, World

Groups = NDArray[Any]
"""A number for each image; those with the same number cannot be told apart by their messages."""


def entropy(values: Groups) -> float:
    """H = - sum p log2 p, in bits."""
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(shares * np.log2(shares)).sum())


def information(one: Groups, other: Groups) -> float:
    """I = H(one) + H(other) - H(one, other)."""
    joint = np.unique(np.stack((one, other)), axis=1, return_inverse=True)[1].ravel()
    return entropy(one) + entropy(other) - entropy(joint)


def bias(rows: int, columns: int, samples: int) -> float:
    """What a table of independent counts shows: (r - 1) (c - 1) / (2 n ln 2) bits (Miller 1955)."""
    return (rows - 1) * (columns - 1) / (2 * samples * math.log(2))


def found(groups: Groups, k: int, gallery: int) -> float:
    """Recall at k: of 1 + M equal candidates k can be named, M ~ hypergeometric."""
    return _over_equals(groups, gallery, lambda m: np.minimum(1, k / (1 + m)))


def reciprocal(groups: Groups, gallery: int) -> float:
    """The mean of 1 / rank where the own rank is anything from 1 to 1 + M: H(1 + M) / (1 + M)."""
    harmonic = np.cumsum(1 / np.arange(1, gallery + 1))
    return _over_equals(groups, gallery, lambda m: harmonic[m] / (1 + m))


def adjusted(groups: Groups, labels: Groups) -> float:
    """(I - E I) / ((H + H') / 2 - E I), with E I over all permutations (Vinh et al. 2010, 24a)."""
    n, expected = len(groups), 0.0
    sizes = [np.unique(side, return_counts=True)[1] for side in (groups, labels)]
    for a, times in zip(*np.unique(sizes[0], return_counts=True), strict=True):
        for b in sizes[1]:
            cell = np.arange(1, min(a, b) + 1)
            terms = hypergeom.pmf(cell, n, a, b) * cell / n * np.log2(n * cell / (a * b))
            expected += float(times * terms.sum())
    mean = (entropy(groups) + entropy(labels)) / 2
    return (information(groups, labels) - expected) / (mean - expected)


def v_measure(groups: Groups, labels: Groups) -> float:
    """2 I / (H + H')."""
    return 2 * information(groups, labels) / (entropy(groups) + entropy(labels))


def largest(labels: Groups) -> float:
    """The share of the commonest label."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def shared(groups: Groups) -> float:
    """The share of images that are not alone in their group."""
    counts = np.unique(groups, return_counts=True)[1]
    return float(counts[counts > 1].sum() / len(groups))


def closer(world: World, named: int | None) -> float:
    """How much nearer images come that share the word for an attribute, or for any of them.

    Cosines are (3 c + 1) / 16 with c common attributes. The word makes sure of its own one, which
    two images have in common with probability p = sum n (n - 1) / (N (N - 1)) anyway: a gain
    of 3 (1 - p) / 16, as attributes are independent.
    """
    columns = world.attributes.T if named is None else world.attributes.T[[named]]
    counts = [np.unique(column, return_counts=True)[1] for column in columns]
    pairs = len(world) * (len(world) - 1)
    return float(np.mean([3 * (1 - (n * (n - 1)).sum() / pairs) / 16 for n in counts]))


def spearman(world: World, said: str, seen: str) -> float:
    """Between the distances of what messages name and those of what they are compared with."""
    return float(spearmanr(world.apart[said], world.apart[seen]).statistic)


def slope(values: NDArray[Any]) -> float:
    """Zipf's exponent of the frequencies of `values`: - cov(log f, log r) / var(log r)."""
    counts = -np.sort(-np.unique(values, return_counts=True)[1])
    ranks = np.log(np.arange(1, len(counts) + 1))
    return float(-np.cov(np.log(counts), ranks)[0, 1] / ranks.var(ddof=1))


def words(world: World) -> Groups:
    """The symbols of all compositional messages."""
    return np.ravel(world.attributes + np.cumsum([0, *world.kinds[:-1]]))


def distinct(symbols: int) -> float:
    """Expected different ones among the SENT uniform draws: V (1 - (1 - 1 / V)^SENT)."""
    return float(symbols * (1 - (1 - 1 / symbols) ** SENT))


def namings(world: World) -> list[Groups]:
    """For each word, which compositional messages have it."""
    columns = zip(world.attributes.T, world.kinds, strict=True)
    return [column == v for column, kinds in columns for v in range(kinds)]


def gap(said: Groups, world: World) -> float:
    """(I1 - I2) / H, of the two attributes that `said` tells most of (Chaabouni et al. 2020)."""
    *_, second, first = sorted(information(said, column) for column in world.attributes.T)
    return (first - second) / entropy(said)


def chance_independence(world: World, contained: float) -> float:
    """Context independence of symbols that an image has with probability `contained`.

    p(v | c) p(c | v) = contained * share of c, and the shares of an attribute's values sum to 1.
    """
    return contained * len(world.kinds) / sum(world.kinds)


def between_by_chance(groups: int, samples: int) -> float:
    """Share of the variance between groups that mean nothing: (k - 1) / (n - 1)."""
    return (groups - 1) / (samples - 1)


def contained() -> float:
    """The chance that a holistic message has a given symbol."""
    return distinct(VOCABULARY) / VOCABULARY


def _over_equals(groups: Groups, gallery: int, value: Any) -> float:
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    equals = np.arange(gallery)
    means = [
        hypergeom.pmf(equals, len(groups) - 1, size - 1, gallery - 1) @ value(equals)
        for size in counts
    ]
    return float(np.array(means)[place].mean())
