"""Files of a folder that may be in an object store: one copy of each per machine, hashed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pg_platform.config.paths import is_address, store_root
from pg_platform.data.verified import has_hash, remember

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_STREAMS = 8
_PIECE = 1 << 22  # bytes

MOST_TEXT = 1 << 30
"""Bytes of a manifest or an index at most: some millions of images in one shard."""


def is_remote(folder: str) -> bool:
    """Whether `folder` is an address such as s3://bucket/pack, gs://, hdfs:// or file://."""
    return is_address(folder)


def local_name(folder: str) -> Path:
    """Where the files of `folder` lie on this machine: there, or below the store's cache."""
    if not is_remote(folder):
        return Path(folder).expanduser()
    return store_root() / "cache" / hashlib.sha256(folder.encode()).hexdigest()[:16]


def sizes(folder: str, names: Collection[str]) -> dict[str, int]:
    """The bytes of those of the files `names` that are there.

    Of a remote folder, those that are gone there and lie here from before count too. ValueError
    where one of a local folder is a link that leads out of it; OSError where the store cannot be
    had.
    """
    here = local_name(folder)
    found = {name: (here / name).stat().st_size for name in names if (here / name).is_file()}
    if not is_remote(folder):
        for name in found:
            _refuse_outside(here, name)
        return found
    from pyarrow import fs

    system, root = fs.FileSystem.from_uri(folder.rstrip("/"))
    listed = system.get_file_info(fs.FileSelector(root, allow_not_found=True))
    files = (info for info in listed if info.type == fs.FileType.File)
    return found | {info.base_name: info.size for info in files if info.base_name in names}


def fetch_newest(folder: str, name: str) -> Path:
    """A small file that may have changed there; of a remote folder it is copied every time.

    A file that is not there is not here afterwards. Raises OSError where the store cannot be had,
    ValueError for a file that is too large, or for a link that leads out of a local folder.
    """
    file = local_name(folder) / name
    if not is_remote(folder):
        _refuse_outside(local_name(folder), name)
        _refuse_large(folder, name, file.stat().st_size if file.is_file() else 0)
        return file
    from pyarrow import fs

    file.parent.mkdir(parents=True, exist_ok=True)
    system, root = fs.FileSystem.from_uri(folder.rstrip("/"))
    source = f"{root}/{name}"
    found = system.get_file_info(source)
    if found.type == fs.FileType.File:
        _refuse_large(folder, name, found.size)
        _copy(system, source, file)
    else:
        file.unlink(missing_ok=True)
    return file


def fetch(folder: str, hashes: Iterable[tuple[str, str]]) -> None:
    """Make sure that the files (name, sha256) of `folder` are on this machine, several at a time.

    A remote one is copied once for all the processes of a machine, and anew where its hash is not
    that of the copy: a pack may be replaced at the same address, and a copy damaged. ValueError
    where what arrives has another hash; OSError where it cannot be had. Files of a local folder
    are left to its owner.
    """
    if not is_remote(folder):
        return
    from pyarrow import fs

    here = local_name(folder)
    here.mkdir(parents=True, exist_ok=True)
    system, root = fs.FileSystem.from_uri(folder.rstrip("/"))

    def bring(name: str, wanted: str) -> None:
        file = here / name
        if file.is_file() and has_hash(file, wanted):
            return
        arrived = _copy(system, f"{root}/{name}", file, wanted)
        if arrived == wanted:
            remember(file, wanted)
        else:
            file.unlink(missing_ok=True)
            raise ValueError(
                f"data.path: {folder}/{name} has another hash than its manifest says; pack "
                "and copy it again"
            )

    with (here / ".lock").open("w") as lock, ThreadPoolExecutor(_STREAMS) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for job in [pool.submit(bring, *file) for file in hashes]:
            job.result()


def _refuse_outside(folder: Path, name: str) -> None:
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"data.path: {folder / name} is a link that leads out of its pack; copy the pack with "
            "what its links stand for (cp -rL)"
        )


def _refuse_large(folder: str, name: str, size: int) -> None:
    if size > MOST_TEXT:
        raise ValueError(
            f"data.path: {folder}/{name} has {size} bytes, and what pg-pack writes has at most "
            f"{MOST_TEXT}; get the pack anew from where it was made"
        )


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
