"""Messages as arrays: tokens by position, bags of symbols, whole messages as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Integers = NDArray[Any]
Floats = NDArray[np.float64]

UNSENT = -1
"""Stands where a patch was not sent."""


def tokens(symbols: Integers, gates: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(n, patches * symbols per patch) from (n, patches, symbols) and (n, patches)."""
    said = np.where(gates[:, :, None], symbols, UNSENT).astype(np.int32)
    return said.reshape(len(said), -1)


def sent(messages: Integers) -> tuple[NDArray[np.int64], Integers]:
    """The row and the symbol of each token that was sent, in reading order."""
    rows, columns = np.nonzero(messages != UNSENT)
    return rows, messages[rows, columns]


def dense(values: Integers) -> tuple[NDArray[np.int64], int]:
    """Numbers 0, 1, ... for the distinct values of (n,), or rows of (n, d); and how many."""
    if values.ndim == 2:
        values = np.ascontiguousarray(values)
        values = values.view(np.dtype((np.void, values.dtype.itemsize * values.shape[1]))).ravel()
    unique, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64), len(unique)


def bags(messages: Integers) -> csr_array[Any, tuple[int, int]]:
    """How often each symbol stands in each message, (n, largest symbol + 1), sparse."""
    rows, symbols = sent(messages)
    width = int(symbols.max(initial=0)) + 1
    keys, counts = np.unique(rows * width + symbols, return_counts=True)
    return csr_array((counts, (keys // width, keys % width)), shape=(len(messages), width))


def sentences(messages: Integers) -> list[str]:
    """Each message as a text of one character per sent symbol, for edit distances."""
    offset = np.where(messages < _SURROGATES, 0, _SURROGATE_COUNT)  # those are no characters
    codes = (messages + offset).astype("<u4")
    return [row[kept].tobytes().decode("utf-32-le") for row, kept in _rows(messages, codes)]


_SURROGATES, _SURROGATE_COUNT = 0xD800, 0x800


def _rows(messages: Integers, codes: Integers) -> zip[tuple[Any, Any]]:
    return zip(codes, messages != UNSENT, strict=True)
