"""What a run reports: rows of metrics, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Row:
    """Metrics at the end of an epoch, placed on three axes.

    `epoch` counts from 1, `step` is the number of optimiser steps taken, `images` the number of
    images seen by all workers together.
    """

    epoch: int
    step: int
    images: int
    metrics: dict[str, float]


OUT_OF_MEMORY = "out of memory"
"""How the error of a trial begins that ran out of memory."""

DISK_FULL = "the disk is full"
"""How the error of a trial begins that could not write its checkpoint or its rows."""

_SIGNS = {
    OUT_OF_MEMORY: ("OutOfMemoryError", "MemoryError", "can't allocate memory"),
    DISK_FULL: ("No space left on device", "Disk quota exceeded"),
}


def shortage(error: str) -> str | None:
    """OUT_OF_MEMORY or DISK_FULL where the traceback `error` tells of that, else None."""
    found = (word for word, signs in _SIGNS.items() if any(sign in error for sign in signs))
    return next(found, None)


class Outcome(Enum):
    """How training ended: at its last epoch, at an epoch that was given, or because it was asked
    to stop; each time with a checkpoint."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"
