"""One driver at a time for a sweep or a run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunningError(RuntimeError):
    """Another process drives the same sweep or run."""


@contextmanager
def only_driver(root: Path, name: str) -> Iterator[None]:
    """Hold the lock `name` under `root`; the system drops it when this process dies.

    Raises AlreadyRunningError where another process holds it.
    """
    folder = root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(
                f"{name} is driven by another process already; watch it with pg-ui, or end that "
                "process first"
            ) from None
        yield
