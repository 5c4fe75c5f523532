"""One driver at a time for a sweep or a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pg_platform.config.errors import InfrastructureError
from pg_platform.results.database import driver_lock, locked

_PATIENCE_SECONDS = 1.0
"""Whoever only looks whether a driver lives holds its lock for a moment."""


class AlreadyRunningError(RuntimeError):
    """Another process drives the same sweep or run."""


@contextmanager
def only_driver(root: Path, name: str) -> Iterator[None]:
    """Hold the lock `name` under `root`; the system drops it when this process dies.

    Raises AlreadyRunningError where another process holds it.
    """
    lock = driver_lock(root, name)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock, patience=_PATIENCE_SECONDS))
        except InfrastructureError:
            raise AlreadyRunningError(
                f"{name} is driven by another process already; watch it with pg-ui, or end that "
                "process first"
            ) from None
        yield
