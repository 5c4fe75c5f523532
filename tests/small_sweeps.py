"""Small sweeps that run: their files, and how their trials stand in the store."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from tests.small import write_sweep


def runs(home: Path, sweep: str = "small") -> dict[str, StoredRun]:
    """The trials of a sweep by name, however they ended."""
    with Store.open(home) as store:
        parent = next(each for each in store.sweeps() if each.tags["pg.sweep"] == sweep)
        return {stored.name: stored for stored in store.trials(parent.run_id)}


def reasons(home: Path) -> dict[str, str]:
    """How each trial ended."""
    return {name: stored.tags["pg.stop_reason"] for name, stored in runs(home).items()}


def table(home: Path, name: str = "tables/comparison.csv") -> str:
    with Store.open(home) as store:
        (parent,) = store.sweeps()
        return store.text(parent.run_id, name)


def sweep(folder: Path, changes: Mapping[str, Any]) -> tuple[Path, Path]:
    """The file of a small sweep and the folder of its store."""
    return write_sweep(folder, changes), folder / "home"


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return once `true`; fail where the process ends before."""
    while not true():
        assert process.poll() is None, "the command ended before its time"
        time.sleep(0.05)


def vocabularies(*values: int) -> dict[str, Any]:
    return {"speaker.vocab_size": {"values": list(values)}}
