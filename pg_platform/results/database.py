"""The files of a local store: its sqlite database and the lock that processes share."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


def write_ahead(database: Path) -> str:
    """The URI of a sqlite file, made one in which readers do not wait for a writer."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return f"sqlite:///{database}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, made if absent, alone among the processes of this machine."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
