"""Entropy and mutual information in bits, and their permutation nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_platform.language.corpus import Floats, Integers, dense, sent

_DENSE_CELLS = 1 << 24


def entropy(values: Integers) -> float:
    """Of the distribution of (n,) values, or of the rows of (n, d)."""
    codes, count = dense(values)
    return float(entropy_of(np.bincount(codes, minlength=count)))


def entropy_of(counts: NDArray[Any]) -> Floats:
    """Of each histogram along the last axis; 0 where a histogram is empty."""
    shares = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares, dtype=np.float64))
    return np.asarray(-(shares * logs).sum(axis=-1) + 0.0)


def mutual_information(one: Integers, other: Integers) -> float:
    """Between paired values (n,) or rows (n, d); never below 0."""
    return _information(*dense(one), *dense(other))


def symbol_label_information(
    messages: Integers, labels: Integers, permutations: int, seed: int
) -> tuple[float, Floats]:
    """Between a sent symbol and the label of its image; and (permutations,) values of the null.

    Each token counts once. The null deals the labels to the images anew.
    """
    rows, symbols = sent(messages)
    symbol_codes, many = dense(symbols)
    label_codes, kinds = dense(labels)
    values = [
        _information(symbol_codes, many, dealt[rows], kinds)
        for dealt in _deals(label_codes, permutations, seed)
    ]
    return values[0], np.array(values[1:])


def message_label_information(
    messages: Integers, labels: Integers, permutations: int, seed: int
) -> tuple[float, Floats]:
    """Between a whole message and the label; and (permutations,) values of the null.

    Where most messages are unique the value is near the labels' entropy for any language: only its
    distance from the null says something.
    """
    message_codes, many = dense(messages)
    label_codes, kinds = dense(labels)
    values = [
        _information(message_codes, many, dealt, kinds)
        for dealt in _deals(label_codes, permutations, seed)
    ]
    return values[0], np.array(values[1:])


def p_value(value: float, null: Floats) -> float:
    """Share of the null that is at least `value`, the value itself counted in; NaN of a NaN."""
    if np.isnan(value):
        return float("nan")
    slack = 1e-9 * max(1.0, abs(value))  # equal sums in another order differ in the last digits
    return float((1 + (null >= value - slack).sum()) / (1 + len(null)))


def _deals(labels: Integers, permutations: int, seed: int) -> list[Integers]:
    generator = np.random.default_rng(seed)
    return [labels, *(generator.permutation(labels) for _ in range(permutations))]


def _information(one: Integers, many: int, other: Integers, kinds: int) -> float:
    joint = one * kinds + other
    cells = (
        np.bincount(joint, minlength=many * kinds)
        if many * kinds <= _DENSE_CELLS
        else np.unique(joint, return_counts=True)[1]
    )
    marginal = entropy_of(np.bincount(one, minlength=many))
    labels = entropy_of(np.bincount(other, minlength=kinds))
    return max(0.0, float(marginal + labels - entropy_of(cells)))
