"""The law that decides which split an image belongs to. Imports no torch."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "val"]


def belongs(name: str, split: Split, val_fraction: float) -> bool:
    """Whether the image called `name` is in `split`: a function of these three only."""
    return (name_hash(name) < val_fraction * 2**64) == (split == "val")


def name_hash(name: str) -> int:
    """64 bits that depend on the whole of `name`."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
