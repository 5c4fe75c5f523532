"""Topographic similarity: do like images have like messages (Fig. 8; Brighton & Kirby 2006)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist, cpdist
from scipy.stats import rankdata

from pg_platform.language.corpus import UNSENT, Floats, Integers, dense, sentences

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

MOST_COMPLETE = 1000
"""Up to so many images every pair is taken: 499,500 of them."""

_CHUNK = 1 << 22  # values compared at once
_BLOCK = 64


def image_pairs(images: int, sampled: int, seed: int) -> Pairs:
    """All pairs i < j of up to MOST_COMPLETE images, in scipy's order; of more, a sample.

    `sampled` pairs, drawn with replacement, err by at most 2 / sqrt(sampled) in 95 of 100 cases
    against all pairs, as a correlation of as many independent pairs does.
    """
    if images <= MOST_COMPLETE:
        one, other = np.triu_indices(images, 1)
        return one, other
    generator = np.random.default_rng(seed)
    one = generator.integers(images, size=sampled)
    other = (one + generator.integers(1, images, size=sampled)) % images
    return np.minimum(one, other), np.maximum(one, other)


def edit_distances(messages: Integers, pairs: Pairs) -> Floats:
    """Levenshtein distance of what was sent, over the mean length of the two; of two empty: 0."""
    texts = sentences(messages)
    lengths = np.array([len(text) for text in texts])
    mean = (lengths[pairs[0]] + lengths[pairs[1]]) / 2
    n = len(texts)
    if len(pairs[0]) == n * (n - 1) // 2 and n <= MOST_COMPLETE:
        edits = _every_edit(texts)[pairs]
    else:
        one, other = ([texts[i] for i in side] for side in pairs)
        edits = np.asarray(cpdist(one, other, scorer=Levenshtein.distance, dtype=np.int32))
    return np.asarray(edits / np.maximum(mean, 1))


def jaccard_distances(messages: Integers, pairs: Pairs) -> Floats:
    """1 - shared over all distinct symbols of the two; of two empty messages: 0."""
    codes, many = dense(messages.ravel())
    codes = codes.reshape(messages.shape)
    silent = bool((messages == UNSENT).any())  # if there, UNSENT is the smallest value: code 0
    step = max(1, _CHUNK // max(1, many))
    bits = np.concatenate(
        [
            _sets(codes[start : start + step], many, skipped=int(silent))
            for start in range(0, len(codes), step)
        ]
    )

    def one_minus_share(one: NDArray[Any], other: NDArray[Any]) -> Floats:
        either = np.bitwise_count(one | other).sum(axis=1, dtype=np.int64)
        both = np.bitwise_count(one & other).sum(axis=1, dtype=np.int64)
        return np.asarray(1 - np.where(either > 0, both / np.maximum(either, 1), 1.0))

    return _compared(bits, pairs, one_minus_share)


def hamming_distances(values: Integers, pairs: Pairs) -> Floats:
    """Share of columns that differ: positions of messages, attributes, or one label."""
    return _compared(values, pairs, lambda one, other: (one != other).mean(axis=1))


def cosine_distances(features: NDArray[Any], pairs: Pairs) -> Floats:
    """1 - cosine of (n, width); a vector of zeros is at distance 1 from all others."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    return _compared(unit, pairs, lambda one, other: 1 - np.einsum("ij,ij->i", one, other))


def euclidean_distances(points: NDArray[Any], pairs: Pairs) -> Floats:
    """Between rows of (n, width)."""
    return _compared(points, pairs, lambda one, other: np.linalg.norm(one - other, axis=1))


def standard_ranks(distances: Floats) -> Floats:
    """Ranks, equal for equals, with mean 0 and norm 1; NaN where all distances are equal."""
    low, high = distances.min(), distances.max()
    if low == high:
        return np.full(len(distances), np.nan)
    ranks = rankdata(distances)
    ranks -= ranks.mean()
    return np.asarray(ranks / np.linalg.norm(ranks))


def topographic_similarity(one: Floats, other: Floats) -> float:
    """Spearman's correlation of two lists of distances; NaN where one of them never varies."""
    return float(standard_ranks(one) @ standard_ranks(other))


def _every_edit(texts: list[str]) -> NDArray[np.int32]:
    """(n, n), filled above the diagonal."""
    edits = np.zeros((len(texts), len(texts)), dtype=np.int32)
    for start in range(0, len(texts), _BLOCK):
        edits[start : start + _BLOCK, start:] = cdist(
            texts[start : start + _BLOCK],
            texts[start:],
            scorer=Levenshtein.distance,
            dtype=np.int32,
            workers=1,
        )
    return edits


def _sets(codes: Integers, many: int, skipped: int) -> NDArray[np.uint8]:
    """The distinct codes of each row as bits, without the lowest `skipped` codes."""
    said = np.zeros((len(codes), many), dtype=bool)
    np.put_along_axis(said, codes, np.True_, axis=1)
    said[:, :skipped] = False
    return np.packbits(said, axis=1)


def _compared(
    rows: NDArray[Any], pairs: Pairs, compare: Callable[[NDArray[Any], NDArray[Any]], Floats]
) -> Floats:
    step = max(1, _CHUNK // rows.shape[1])
    return np.concatenate(
        [
            compare(rows[pairs[0][start : start + step]], rows[pairs[1][start : start + step]])
            for start in range(0, max(1, len(pairs[0])), step)
        ]
    )
