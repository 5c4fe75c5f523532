"""Intervals from images drawn again, and what permutations say, as named metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pg_platform.language.corpus import Floats
from pg_platform.language.information import p_value

COVERED = (2.5, 97.5)
"""Percentiles of an interval."""


_COMPANIONS = ("_low", "_high", "_null_mean", "_null_p")


def bootstrap_means(values: Floats, resamples: int, seed: int) -> Floats:
    """(2, columns) limits of the 95 % interval of the column means of (images, columns)."""
    generator, n = np.random.default_rng(seed), len(values)
    means = np.stack(
        [
            np.bincount(generator.integers(n, size=n), minlength=n) @ values / n
            for _ in range(resamples)
        ]
    )
    return np.asarray(np.percentile(means, COVERED, axis=0))


def with_interval(name: str, value: float, limits: Floats) -> dict[str, float]:
    """The value, `..._low` and `..._high`."""
    return {name: value, f"{name}_low": float(limits[0]), f"{name}_high": float(limits[1])}


def with_null(name: str, value: float, null: Floats) -> dict[str, float]:
    """The value, the mean of its permutation null and the share of the null that reaches it."""
    return {
        name: value,
        f"{name}_null_mean": float(null.mean()),
        f"{name}_null_p": p_value(value, null),
    }


def defined(metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """The metrics that are numbers, and a sentence about those that are not.

    Where a metric is not defined, neither are its interval and its null.
    """
    kept = {name: value for name, value in metrics.items() if math.isfinite(value)}
    lost = [name for name in metrics if name not in kept]
    whole = [name for name in lost if not name.endswith(_COMPANIONS)]
    told = [f"Not defined on these messages: {', '.join(whole)}."] if whole else []
    return kept, told
