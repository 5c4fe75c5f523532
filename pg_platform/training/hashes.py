"""manifest.json of a checkpoint: the sha256 of every other file, written last."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from pg_platform.data.verified import file_hash

MANIFEST = "manifest.json"


class _Manifest(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    version: Literal[1]
    sha256: dict[str, str]


class Written:
    """The files of a folder as they are written, and what they hash to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sha256: dict[str, str] = {}

    def put(self, name: str, content: bytes | memoryview) -> None:
        """Write a file. Its hash is that of what was to be written, whatever a disk makes of it."""
        self.sha256[name] = hashlib.sha256(content).hexdigest()
        (self.folder / name).write_bytes(content)

    def close(self) -> None:
        """Write the manifest."""
        manifest = _Manifest(version=1, sha256=self.sha256)
        (self.folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))


def read_hashes(folder: Path) -> dict[str, str] | None:
    """The hashes that were written with the files of `folder`, by name.

    None for a checkpoint of a version that wrote none. ValueError where they were lost or damaged.
    """
    file = folder / MANIFEST
    if not file.is_file():
        if _hashed(folder):
            raise ValueError(f"{MANIFEST}: gone")
        return None
    try:
        return _Manifest.model_validate_json(file.read_bytes()).sha256
    except ValidationError as error:
        raise ValueError(f"{MANIFEST}: damaged") from error


def hash_of(file: Path) -> str:
    """sha256 of a file, which a process computes once while size and times stay the same."""
    found = file.stat()
    return _hash(file, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@lru_cache(maxsize=4096)
def _hash(file: Path, *_: int) -> str:
    return file_hash(file)


def _hashed(folder: Path) -> bool:
    """Whether the progress in `folder`, where it can be read, was written with hashes."""
    try:
        return bool(json.loads((folder / "progress.json").read_bytes())["hashed"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def weights_hash(method: Any) -> str:
    """SHA-256 in hex of names, types and values of the state of a torch module."""
    digest = hashlib.sha256()
    for name, value in sorted(method.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
