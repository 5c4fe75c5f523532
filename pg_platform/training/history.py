"""What a run reports: rows of metrics, and how it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path


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


@dataclass(frozen=True)
class Heartbeat:
    """Where a trial stands between two rows: `step` of all its `steps`, in epoch `epoch` from 1.

    `images_per_s` is of all workers together, since the heartbeat before.
    """

    epoch: int
    step: int
    steps: int
    images_per_s: float
    seconds_left: float


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


class Journal:
    """One row a line, in the order of reporting. One process writes at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def restart(self, rows: Sequence[Row]) -> None:
        """Hold exactly `rows`: those of the checkpoint that a run goes on from."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_bytes(b"".join(map(_line, rows)))
        os.replace(draft, self.path)

    def append(self, row: Row) -> None:
        """Add one row and wait until the disk has it."""
        with self.path.open("ab") as file:
            file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[Row]:
        """The rows so far, without a last line that a kill tore; none where there is no file."""
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [Row(**json.loads(line)) for line in whole.splitlines()]


def _line(row: Row) -> bytes:
    return json.dumps(asdict(row), sort_keys=True).encode() + b"\n"
