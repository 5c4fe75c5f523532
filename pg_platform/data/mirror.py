"""Files of a folder that may be in an object store: one copy of each per machine, hashed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pg_platform.config.paths import is_address
from pg_platform.config.places import store_root

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_STREAMS = 8
_PIECE = 1 << 22  # bytes


def is_remote(folder: str) -> bool:
    """Whether `folder` is an address such as s3://bucket/pack, gs://, hdfs:// or file://."""
    return is_address(folder)


def local_name(folder: str) -> Path:
    """Where the files of `folder` lie on this machine: there, or below the store's cache."""
    if not is_remote(folder):
        return Path(folder).expanduser()
    return store_root() / "cache" / hashlib.sha256(folder.encode()).hexdigest()[:16]


def fetch_newest(folder: str, name: str) -> Path:
    """A small file that may have changed there; of a remote folder it is copied every time.

    A file that is not there is not here afterwards. Raises OSError where the store cannot be had.
    """
    file = local_name(folder) / name
    if is_remote(folder):
        from pyarrow import fs

        file.parent.mkdir(parents=True, exist_ok=True)
        system, root = fs.FileSystem.from_uri(folder.rstrip("/"))
        source = f"{root}/{name}"
        if system.get_file_info(source).type == fs.FileType.NotFound:
            file.unlink(missing_ok=True)
        else:
            _copy(system, source, file)
    return file


def fetch(folder: str, hashes: Iterable[tuple[str, str]]) -> None:
    """Make sure that the files (name, sha256) of `folder` are on this machine, several at a time.

    A remote one is copied once for all the processes of a machine, and anew where its hash is not
    that of the copy: a pack may be replaced at the same address. ValueError where what arrives has
    another hash; OSError where it cannot be had. Files of a local folder are left to its owner.
    """
    if not is_remote(folder):
        return
    from pyarrow import fs

    here = local_name(folder)
    here.mkdir(parents=True, exist_ok=True)
    system, root = fs.FileSystem.from_uri(folder.rstrip("/"))
    with (here / ".lock").open("w") as lock, ThreadPoolExecutor(_STREAMS) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [(name, wanted) for name, wanted in hashes if _held(here / name) != wanted]

        def bring(name: str, wanted: str) -> None:
            file = here / name
            _note(file).unlink(missing_ok=True)
            arrived = _copy(system, f"{root}/{name}", file, wanted)
            if arrived == wanted:
                _note(file).write_text(wanted)
            else:
                file.unlink(missing_ok=True)
                raise ValueError(
                    f"data.path: {folder}/{name} has another hash than its manifest says; pack "
                    "and copy it again"
                )

        for job in [pool.submit(bring, *file) for file in missing]:
            job.result()


def _held(file: Path) -> str | None:
    """The hash that the copy had when it arrived; None where there is no whole copy."""
    note = _note(file)
    return note.read_text() if file.is_file() and note.is_file() else None


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _copy(system: FileSystem, source: str, dest: Path, wanted: str | None = None) -> str:
    """Copy a file and give its sha256; `dest` is there whole, with the `wanted` one, or not."""
    partial = dest.with_name(f".{dest.name}.{os.getpid()}")
    digest = hashlib.sha256()
    with system.open_input_stream(source) as stream, partial.open("wb") as file:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            file.write(piece)
    found = digest.hexdigest()
    if wanted in (None, found):
        shutil.move(partial, dest)
    else:
        partial.unlink()
    return found
