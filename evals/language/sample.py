"""The images of a bank that an evaluation of messages works on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.language.corpus import tokens
from pg_platform.results.bank import Bank


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
