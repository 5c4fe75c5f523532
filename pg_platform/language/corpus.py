"""Messages as arrays: tokens by position, bags of symbols, whole messages as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Bank:
    """Decided messages and embeddings; row i of everything belongs to one image.

    `symbols` (n, patches, symbols per patch) int32, of unsent patches too; `gates` (n, patches)
    bool; `scores` (n, patches) float32, the importance of each patch to the speaker; `text` and
    `image` (n, out) float32, whose products are cosines; `features` (n, width) float32 of what the
    listener saw; `labels` (n,) int64, -1 where an image has none; `positions` (n,) int64 in the
    split; `attributes` (n,) int64 each. The arrays are memory-mapped and cannot be written.
    """

    folder: Path
    vocabulary: int
    symbols: NDArray[np.int32]
    gates: NDArray[np.bool_]
    scores: NDArray[np.float32]
    text: NDArray[np.float32]
    image: NDArray[np.float32]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    ids: NDArray[np.bytes_]
    """(n,) the image ids in UTF-8."""
    attributes: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.labels)


def chosen_rows(bank: Bank, images: int, seed: int, *, labelled: bool) -> NDArray[np.int64]:
    """At most `images` rows of the bank, a seeded choice in the bank's order.

    ValueError where labels are asked for and no image has one.
    """
    rows = np.flatnonzero(bank.labels >= 0) if labelled else np.arange(len(bank))
    if not len(rows):
        raise ValueError(f"data: no image of {bank.folder.name} has a label, which this needs")
    if len(rows) > images:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:images])
    return rows


def messages_of(bank: Bank, rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """(rows, length) tokens, -1 where a patch was not sent."""
    return tokens(bank.symbols[rows], bank.gates[rows])


def attributes_of(bank: Bank, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    """(rows, attributes); None where the images have fewer than two."""
    if len(bank.attributes) < 2:
        return None
    return np.stack([values[rows] for values in bank.attributes.values()], axis=1)
