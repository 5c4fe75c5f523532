"""A run's metrics.jsonl: the rows it reported, readable without any store."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pg_platform.training.rows import Row


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
