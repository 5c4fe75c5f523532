"""Streams of random numbers by name, so that each draw is a function of what it is for."""

from __future__ import annotations

import hashlib


def stream(seed: int, *names: int | str) -> int:
    """A 63-bit seed for the draws called `names`: equal names give equal draws anywhere.

    Nothing keeps a generator between two steps, so a resumed run and a run with another number
    of workers draw the same numbers.
    """
    text = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
