"""Whether positions or symbols of a message stand for single attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score, v_measure_score

from pg_platform.language.corpus import Floats, Integers, bags, dense
from pg_platform.language.information import entropy_of

_CELLS = 1 << 22
"""Histogram cells that are held at once."""


def positional_disentanglement(messages: Integers, attributes: Integers) -> float:
    """Gap between the two attributes that a position tells most of, over its entropy (posdis).

    `messages` (n, length), `attributes` (n, two or more). The mean is over positions that vary; it
    is NaN where none does (Chaabouni et al. 2020).
    """
    _check(attributes)
    codes, many = dense(messages.ravel())
    positions: Integers = codes.reshape(messages.shape)
    dealt = [dense(column) for column in attributes.T]
    gaps = []
    for start, stop in _chunks(positions.shape[1], many * max(kinds for _, kinds in dealt)):
        part = positions[:, start:stop] + many * np.arange(stop - start)
        joints = [
            np.bincount(
                (part * kinds + values[:, None]).ravel(), minlength=(stop - start) * many * kinds
            ).reshape(stop - start, many, kinds)
            for values, kinds in dealt
        ]
        gaps.append(_gaps(joints))
    return _mean(np.concatenate(gaps))


def bag_disentanglement(messages: Integers, attributes: Integers) -> float:
    """The same of the number of times that a symbol stands in a message (bosdis).

    A token that was not sent is not counted as a symbol.
    """
    _check(attributes)
    said = bags(messages)
    rows, symbols = said.nonzero()
    counts, most = said.data.astype(np.int64), int(said.data.max(initial=0)) + 1
    order = np.argsort(symbols, kind="stable")
    rows, symbols, counts = rows[order], symbols[order].astype(np.int64), counts[order]
    dealt = [dense(column) for column in attributes.T]
    gaps = []
    for start, stop in _chunks(said.shape[1], most * max(kinds for _, kinds in dealt)):
        here = slice(*np.searchsorted(symbols, (start, stop)))
        cells = (symbols[here] - start) * most + counts[here]
        joints = []
        for values, kinds in dealt:
            joint = np.bincount(
                cells * kinds + values[rows[here]], minlength=(stop - start) * most * kinds
            ).reshape(stop - start, most, kinds)
            joint[:, 0] = np.bincount(values, minlength=kinds) - joint.sum(axis=1)
            joints.append(joint)
        gaps.append(_gaps(joints))
    return _mean(np.concatenate(gaps))


def context_independence(messages: Integers, attributes: Integers) -> float:
    """How far one symbol stands for one attribute value wherever it occurs (Bogin et al. 2018).

    The mean over attribute values c of p(v | c) p(c | v): v is the symbol with the largest
    p(c | v), of several the one with the largest p(v | c). Both are shares of images, with "the
    message contains v" for v. NaN where no symbol was sent.
    """
    present = (bags(messages) > 0).astype(np.float64)
    uses = np.asarray(present.sum(axis=0)).ravel()
    if not uses.any():
        return float("nan")
    scores = []
    for column in attributes.T:
        codes, kinds = dense(column)
        onehot = np.eye(kinds)[codes]
        both = np.asarray(present.T @ onehot)  # (symbols, kinds)
        of_symbol = both / np.maximum(uses, 1)[:, None]
        of_kind = both / onehot.sum(axis=0)
        best = np.lexsort((of_kind, of_symbol), axis=0)[-1]
        chosen = (best, np.arange(kinds))
        scores.append(of_symbol[chosen] * of_kind[chosen])
    return float(np.concatenate(scores).mean())


def _gaps(joints: list[NDArray[np.int64]]) -> Floats:
    """(positions that vary,) from histograms (positions, values, kinds) of each attribute."""
    marginal = entropy_of(joints[0].sum(axis=2))
    told = [
        marginal + entropy_of(joint.sum(axis=1)) - entropy_of(joint.reshape(len(joint), -1))
        for joint in joints
    ]
    ranked = np.sort(np.stack(told), axis=0)
    varies = marginal > 0
    return np.asarray((ranked[-1] - ranked[-2])[varies] / marginal[varies])


def _chunks(items: int, cells_each: int) -> Iterator[tuple[int, int]]:
    step = max(1, _CELLS // cells_each)
    for start in range(0, items, step):
        yield start, min(start + step, items)


def _mean(gaps: Floats) -> float:
    return float(gaps.mean()) if len(gaps) else float("nan")


def _check(attributes: NDArray[Any]) -> None:
    if attributes.ndim != 2 or attributes.shape[1] < 2:
        raise ValueError(
            f"disentanglement compares attributes, and there is an array {attributes.shape} of "
            "them; give (images, two or more), as data.kind=shapes has"
        )


def v_measure(clusters: Integers, labels: Integers) -> float:
    """Harmonic mean of homogeneity and completeness of (n,) clusters, 0 to 1."""
    return float(v_measure_score(labels, clusters))


def adjusted_information(clusters: Integers, labels: Integers) -> float:
    """Adjusted mutual information: 0 expected by chance, 1 where clusters are the labels."""
    return float(adjusted_mutual_info_score(labels, clusters))


def purity(clusters: Integers, labels: Integers) -> float:
    """Share of images whose label is the commonest one of their cluster."""
    (codes, many), (values, kinds) = dense(clusters), dense(labels)
    cells, counts = np.unique(codes * kinds + values, return_counts=True)
    most = np.zeros(many, dtype=np.int64)
    np.maximum.at(most, cells // kinds, counts)
    return float(most.sum() / len(labels))


def semantic_consistency(messages: Integers, features: NDArray[Any]) -> float:
    """Mean cosine of two images that share a symbol, less that of any two images.

    The first mean is over symbols in two messages or more, each weighted by the number of images
    that have it; 0 is expected of random symbols. `features` (n, width). NaN where no symbol is
    shared.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    unit = unit.astype(np.float64)
    present = (bags(messages) > 0).astype(np.float64)
    images = np.asarray(present.sum(axis=0)).ravel()
    shared = images >= 2
    if not shared.any() or len(messages) < 2:
        return float("nan")
    sums = np.asarray(present.T @ unit)[shared]  # (symbols, width)
    cosines = _mean_cosine(sums, images[shared])
    everyone = _mean_cosine(unit.sum(axis=0, keepdims=True), np.array([float(len(unit))]))
    return float(np.average(cosines, weights=images[shared]) - everyone[0])


def _mean_cosine(sums: NDArray[Any], images: NDArray[Any]) -> NDArray[Any]:
    """Over pairs of different images, from sums (groups, width) of unit vectors."""
    return np.asarray(((sums**2).sum(axis=1) - images) / (images * (images - 1)))
