"""How well messages sort images: into their classes, and into like with like."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score, v_measure_score

from evals.language.corpus import Integers, bags, dense


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
