"""The files of a local store: its sqlite database and the locks that processes share."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from pg_platform.config.errors import InfrastructureError

BUSY_SECONDS = 20.0
"""How long a database that another process holds is waited for; MLflow waits as long."""


LOCK_SECONDS = 300.0
"""How long a lock is waited for: the making of a store takes a minute on a machine at work."""


_POLL_SECONDS = 0.05


_REMEDIES = {
    "SQLITE_NOTADB": "put a copy back, or move it away and a new store begins",
    "SQLITE_CORRUPT": "put a copy back, or move it away and a new store begins",
    "SQLITE_BUSY": "another process holds it; give the same command when that has ended",
    "SQLITE_READONLY": "let this user write there, or name another folder with PG_HOME",
    "SQLITE_CANTOPEN": "let this user write there, or name another folder with PG_HOME",
    "SQLITE_PERM": "let this user write there, or name another folder with PG_HOME",
    "SQLITE_FULL": "make room, then give the same command: nothing is lost",
    "SQLITE_IOERR": "look after the disk and make room, then give the same command",
}


def write_ahead(database: Path) -> None:
    """Makes a sqlite file, if absent, one in which readers do not wait for a writer.

    Raises InfrastructureError where it is damaged or cannot be written.
    """
    try:
        with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as error:
        raise InfrastructureError(what_fails(database, error)) from error


def write_copy(source: Path, copy: Path) -> None:
    """Writes all of a sqlite file as another one, in which readers do not wait for a writer."""
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])
    write_ahead(copy)


def sqlite_error(error: BaseException | None) -> sqlite3.Error | None:
    """The error of sqlite's below an error of a library that stands on it; None for others."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__ or error.__context__
    return error


def what_fails(database: Path, error: sqlite3.Error) -> str:
    """One line: the file, what sqlite says, and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    known = (remedy for kind, remedy in _REMEDIES.items() if name.startswith(kind))
    remedy = next(known, "put a copy back, or move it away and a new store begins")
    return f"{database}: {str(error).partition(chr(10))[0]}; {remedy}"


@contextmanager
def locked(path: Path, patience: float = LOCK_SECONDS) -> Iterator[None]:
    """Holds the lock file `path`, made if absent, alone among the processes of this machine.

    Raises InfrastructureError where another process holds it for longer than `patience` seconds.
    """
    deadline = time.monotonic() + patience
    with path.open("a") as file:
        while not _take(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                raise InfrastructureError(
                    f"{path}: held by another process for {patience:g} s; end that one (fuser "
                    "names it), then give the same command"
                )
            time.sleep(_POLL_SECONDS)
        yield


def driver_lock(root: Path, name: str) -> Path:
    """The lock file that a process holds while it drives the sweep or run `name`."""
    return root / "locks" / f"{name}.lock"


def is_held(lock: Path) -> bool:
    """Whether a process of this machine holds a lock file; the system drops it when that dies."""
    if not lock.is_file():
        return False
    handle = os.open(lock, os.O_RDONLY)
    try:
        return not _take(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}")
    partial.write_text(text)
    partial.replace(file)


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
