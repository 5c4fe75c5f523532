"""Which files have the hash that is told of them, remembered until their size or times change.

What is remembered lies in `cache/verified/` of the store of results, never beside the files: they
may be read-only, and belong to somebody else.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pg_platform.config.paths import store_root

_STREAMS = 4
"""Files that are hashed at the same time; hashlib lets go of the interpreter meanwhile."""


def file_hash(file: Path) -> str:
    """sha256 of a file, read in pieces."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def have_hash(files: Sequence[tuple[Path, str]]) -> Iterator[bool]:
    """Whether each of the files (path, sha256) has that content, in their order.

    One is hashed where this machine has not yet found it right, or its size, its time of
    modification or of change is another since. Several processes that ask at once take turns, so
    that the files are read once. OSError where one cannot be read.
    """
    with _taking_turns(), ThreadPoolExecutor(_STREAMS) as pool:
        yield from pool.map(has_hash, *zip(*files, strict=True)) if files else ()


def has_hash(file: Path, sha256: str) -> bool:
    """Whether `file` has that content, see `have_hash`."""
    mark = _mark(file)
    if _noted(file) == f"{sha256} {mark}":
        return True
    right = file_hash(file) == sha256
    if right and _mark(file) == mark:
        remember(file, sha256)
    return right


def remember(file: Path, sha256: str) -> None:
    """Note that `file`, as it is now, has that content. Where the note cannot be kept it is not."""
    note = _note(file)
    partial = note.with_name(f".{note.name}.{os.getpid()}")
    with suppress(OSError):  # a store that cannot be written: the file is hashed again next time
        note.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(f"{sha256} {_mark(file)}")
        partial.replace(note)


def _mark(file: Path) -> str:
    """What changes with a file's content, unless somebody sees to it that it does not."""
    found = file.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _noted(file: Path) -> str | None:
    try:
        return _note(file).read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _note(file: Path) -> Path:
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]
    return _folder() / name


def _folder() -> Path:
    return store_root() / "cache" / "verified"


@contextmanager
def _taking_turns() -> Iterator[None]:
    """One process of this store at a time; where it cannot be written, all at once."""
    with ExitStack() as held:
        with suppress(OSError):
            _folder().mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((_folder() / ".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
