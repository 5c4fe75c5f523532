"""Packs: images decoded once, as raw pixels in shards, and what is known of each. No torch.

A pack is a folder. `shard-00000.bin` holds (3, h, w) uint8 images one after another,
`shard-00000.json` where each lies and what it is, and `manifest.json`, written last, the hashes
of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pg_platform.config.experiment import Packed
from pg_platform.config.problems import DataError
from pg_platform.data.membership import Split, belongs
from pg_platform.data.mirror import fetch, fetch_newest, is_remote, local_name

MANIFEST = "manifest.json"


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Shard(_Document):
    """The images of one .bin file in order; `origin` is what they were made from, and how."""

    origin: str
    sha256: str
    ids: list[str]
    labels: list[int]
    roles: list[Split | None]
    """The split that the source gave an image; None: the hash of its id decides."""
    offsets: list[int]
    heights: list[int]
    widths: list[int]
    broken: list[str]
    """The images that were left out, and why."""

    def rows(self, split: Split, val_fraction: float) -> list[int]:
        """Which of its images are in `split`."""
        return [
            row
            for row, (name, role) in enumerate(zip(self.ids, self.roles, strict=True))
            if (belongs(name, split, val_fraction) if role is None else role == split)
        ]

    @property
    def size(self) -> int:
        """Bytes of the .bin file."""
        return sum(3 * h * w for h, w in zip(self.heights, self.widths, strict=True))


class Entry(_Document):
    """What a manifest says of a shard: its name and the hashes of its two files."""

    name: str
    pixels: str
    index: str


class Manifest(_Document):
    """The table of contents of a pack."""

    version: Literal[1]
    image_size: int
    classes: list[str]
    shards: list[Entry]


@dataclass(frozen=True)
class Pack:
    """A pack that is complete as far as sizes and the hashes of its indices tell."""

    folder: str
    """A folder of this machine, or the address of one in an object store."""
    manifest: Manifest
    shards: list[Shard]

    def pixels(self) -> list[Path]:
        """The .bin files, all of them on this machine: brought here where they were not."""
        names = [(f"{entry.name}.bin", entry.pixels) for entry in self.manifest.shards]
        fetch(self.folder, names)
        return [local_name(self.folder) / name for name, _ in names]


def read_pack(data: Packed) -> Pack:
    """The pack in `data.path`; ValueError where it is damaged or was made for another size."""
    folder = local_name(data.path)
    manifest = read_manifest(data.path)
    if manifest.image_size != data.image_size:
        raise DataError(
            "data.image_size",
            f"is {data.image_size} and the pack {data.path} was made for {manifest.image_size}",
            "try {}, or make another pack with pg-pack",
            str(manifest.image_size),
        )
    fetch(data.path, [(f"{entry.name}.json", entry.index) for entry in manifest.shards])
    remote = is_remote(data.path)
    shards = [_shard(folder, entry, sized=not remote) for entry in manifest.shards]
    return Pack(data.path, manifest, shards)


def read_manifest(folder: str) -> Manifest:
    """The manifest of a pack; ValueError where there is none or it is damaged."""
    file = fetch_newest(folder, MANIFEST)
    if not file.is_file():
        raise DataError(
            "data.path",
            f"no {file}; a pack has none before it is complete: pg-pack FILE {folder} makes it or "
            "goes on",
            "{} names another",
            "FOLDER",
        )
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as problem:
        raise ValueError(
            f"data.path: {file} is no manifest that this version can read "
            f"({problem.errors()[0]['msg']}); remove it and run the same pg-pack again"
        ) from problem


def verify(folder: Path, report: Callable[[str], None]) -> int:
    """Hash every file of a pack; the number of its images. ValueError names what is wrong."""
    count, wrong = 0, []
    for entry in read_manifest(str(folder)).shards:
        shard, file = _shard(folder, entry, sized=True), folder / f"{entry.name}.bin"
        if file_hash(file) != entry.pixels:
            wrong.append(file.name)
        report(f"{file.name}: {'wrong hash' if file.name in wrong else 'as written'}")
        count += len(shard.ids)
    if wrong:
        raise ValueError(_damaged(folder, f"{', '.join(wrong)} has another hash than when written"))
    return count


def file_hash(file: Path) -> str:
    """sha256 of a file, read in pieces."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shard_names() -> Iterator[str]:
    """shard-00000, shard-00001 and on."""
    number = 0
    while True:
        yield f"shard-{number:05}"
        number += 1


def _shard(folder: Path, entry: Entry, *, sized: bool) -> Shard:
    """The index of a shard, once its hash is found right, and where `sized` its .bin's size."""
    index, pixels = folder / f"{entry.name}.json", folder / f"{entry.name}.bin"
    for file in (index, pixels) if sized else (index,):
        if not file.is_file():
            raise ValueError(_damaged(folder, f"{file.name} is gone"))
    if file_hash(index) != entry.index:
        raise ValueError(_damaged(folder, f"{index.name} has another hash than when written"))
    shard = Shard.model_validate_json(index.read_bytes())
    if sized and (size := pixels.stat().st_size) != shard.size:
        raise ValueError(
            _damaged(folder, f"{pixels.name} has {size} bytes and should have {shard.size}")
        )
    return shard


def _damaged(folder: Path, what: str) -> str:
    return f"data.path: {folder}: {what}; run the pg-pack that made this pack again"
