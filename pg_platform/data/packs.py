"""Packs: images decoded once, as raw pixels in shards, and what is known of each. No torch.

A pack is a folder. `shard-00000.bin` holds (3, h, w) uint8 images one after another,
`shard-00000.json` where each lies and what it is, and `manifest.json`, written last, the hashes
of both. A pack may come from anywhere: what it says is checked before it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validates

from pg_platform.config.errors import DataError
from pg_platform.config.experiment import Data, Packed
from pg_platform.data.listing import Split, belongs
from pg_platform.data.mirror import MOST_TEXT, fetch, fetch_newest, is_remote, local_name, sizes
from pg_platform.data.verified import file_hash, have_hash, remember

MANIFEST = "manifest.json"

Name = Annotated[str, StringConstraints(pattern=r"^shard-[0-9]{5,9}$")]
"""As `shard_names` has them: files beside the manifest, and never the manifest."""

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=1, le=2**16)]
"""Pixels of a side."""

NAMED = 10
"""So many shards are named in an error; the rest are counted."""

_SHOWN = 60
"""Characters of a damaged file that an error repeats."""


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Shard(_Document):
    """The images of one .bin file in order; `origin` is what they were made from, and how."""

    origin: str
    sha256: Hash
    ids: list[str]
    labels: list[int]
    roles: list[Split | None]
    """The split that the source gave an image; None: the hash of its id decides."""
    offsets: list[int]
    heights: list[Side]
    widths: list[Side]
    broken: list[str]
    """The images that were left out, and why."""

    @validates(mode="after")
    def _one_after_another(self) -> Self:
        """Every image has an entry in each list, and begins where the one before it ends."""
        columns = ("ids", "labels", "roles", "offsets", "heights", "widths")
        counts = {name: len(getattr(self, name)) for name in columns}
        if len(set(counts.values())) > 1:
            raise ValueError(f"its lists have different lengths: {counts}")
        ends = accumulate(3 * h * w for h, w in zip(self.heights, self.widths, strict=True))
        for row, (offset, wanted) in enumerate(zip(self.offsets, (0, *ends), strict=False)):
            if offset != wanted:
                raise ValueError(f"offsets: image {row} begins at {offset} and not at {wanted}")
        return self

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

    name: Name
    pixels: Hash
    index: Hash


class Manifest(_Document):
    """The table of contents of a pack."""

    version: Literal[1]
    image_size: Side
    classes: list[str]
    shards: list[Entry]

    @validates(mode="after")
    def _each_once(self) -> Self:
        names = [entry.name for entry in self.shards]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"shards: {twice} is named twice")
        return self


@dataclass(frozen=True)
class Pack:
    """A pack that is complete as far as sizes and the hashes of its indices tell."""

    folder: str
    """A folder of this machine, or the address of one in an object store."""
    manifest: Manifest
    shards: list[Shard]

    def pixels(self) -> list[Path]:
        """The .bin files, all of them on this machine and with the hashes of the manifest.

        They are brought here where they were not. ValueError where one has another hash.
        """
        if is_remote(self.folder):
            fetch(self.folder, self._hashes())
        else:
            for _ in self.checked():
                pass
        return [local_name(self.folder) / name for name, _ in self._hashes()]

    def checked(self) -> Iterator[None]:
        """Something for each .bin file of a local pack that is found right.

        ValueError names those that are not. What was found right on this machine is not read again
        until its size or times change.
        """
        folder, hashes = local_name(self.folder), self._hashes()
        wrong = []
        placed = [(folder / name, sha256) for name, sha256 in hashes]
        for (name, _), right in zip(hashes, have_hash(placed), strict=True):
            if not right:
                wrong.append(name)
            yield
        if wrong:
            raise ValueError(_other_hash(folder, wrong))

    def _hashes(self) -> list[tuple[str, str]]:
        """(name, sha256) of each .bin file."""
        return [(f"{entry.name}.bin", entry.pixels) for entry in self.manifest.shards]


def local_packs(sets: Iterable[Data]) -> Iterator[Pack]:
    """The packs among sets of images that lie in a folder, each once; ValueError as `read_pack`."""
    for data in dict.fromkeys(sets):
        if isinstance(data, Packed) and not is_remote(data.path):
            yield read_pack(data)


def read_pack(data: Packed) -> Pack:
    """The pack in `data.path`: names, sizes, offsets and labels are those of a pack.

    The pixels are not read. ValueError where it is damaged or was made for another size.
    """
    manifest = read_manifest(data.path)
    if manifest.image_size != data.image_size:
        raise DataError(
            "data.image_size",
            f"is {data.image_size} and the pack {data.path} was made for {manifest.image_size}",
            "try {}, or make another pack with pg-pack",
            str(manifest.image_size),
        )
    return Pack(data.path, manifest, _read_shards(data.path, manifest))


def read_manifest(folder: str) -> Manifest:
    """The manifest of a pack; ValueError where there is none or it is damaged."""
    file, place = fetch_newest(folder, MANIFEST), _place(folder, MANIFEST)
    if not file.is_file():
        raise DataError(
            "data.path",
            f"no {place}; a pack has none before it is complete: pg-pack FILE {folder} makes it or "
            "goes on",
            "{} names another",
            "FOLDER",
        )
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as problem:
        raise ValueError(
            f"data.path: {place} is no manifest that this version can read "
            f"({_first(problem)}); remove it and run the same pg-pack again, or copy the pack anew"
        ) from problem


def verify(folder: Path, report: Callable[[str], None]) -> int:
    """Hash every file of a pack; the number of its images. ValueError names what is wrong."""
    manifest = read_manifest(str(folder))
    wrong = []
    shards = _read_shards(str(folder), manifest)
    for entry in manifest.shards:
        file = folder / f"{entry.name}.bin"
        if file_hash(file) == entry.pixels:
            remember(file, entry.pixels)
        else:
            wrong.append(file.name)
        report(f"{file.name}: {'wrong hash' if file.name in wrong else 'as written'}")
    if wrong:
        raise ValueError(_other_hash(folder, wrong))
    return sum(len(shard.ids) for shard in shards)


def shard_names() -> Iterator[str]:
    """shard-00000, shard-00001 and on."""
    number = 0
    while True:
        yield f"shard-{number:05}"
        number += 1


def _read_shards(folder: str, manifest: Manifest) -> list[Shard]:
    """The indices of all shards, each with the hash and the sizes that are told of it."""
    names = [f"{entry.name}{end}" for entry in manifest.shards for end in (".json", ".bin")]
    there = sizes(folder, set(names))
    for name in names:
        if name not in there:
            raise ValueError(_damaged(folder, f"{name} is gone"))
        if name.endswith(".json") and there[name] > MOST_TEXT:
            raise ValueError(_damaged(folder, f"{name} has {there[name]} bytes, too many"))
    fetch(folder, [(f"{entry.name}.json", entry.index) for entry in manifest.shards])
    return [_shard(folder, entry, there, len(manifest.classes)) for entry in manifest.shards]


def _shard(folder: str, entry: Entry, there: Mapping[str, int], classes: int) -> Shard:
    """The index of a shard; ValueError where it has another hash or is not of its .bin file."""
    index, pixels = f"{entry.name}.json", f"{entry.name}.bin"
    content = (local_name(folder) / index).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.index:
        raise ValueError(_other_hash(folder, [index]))
    try:
        shard = Shard.model_validate_json(content)
    except ValidationError as problem:
        raise ValueError(
            _damaged(folder, f"{index} is no index of a shard ({_first(problem)})")
        ) from problem
    if shard.sha256 != entry.pixels:
        raise ValueError(_damaged(folder, f"{index} is of another {pixels} than {MANIFEST}"))
    if there[pixels] != shard.size:
        raise ValueError(
            _damaged(folder, f"{pixels} has {there[pixels]} bytes and should have {shard.size}")
        )
    for row, label in enumerate(shard.labels):
        if not -1 <= label < classes:
            raise ValueError(
                _damaged(folder, f"{index}: image {row} has label {label} of {classes} classes")
            )
    return shard


def _first(problem: ValidationError) -> str:
    """The first thing that is wrong with a document, in one line without control characters.

    What stands in such a file may be meant for the terminal.
    """
    found = problem.errors(include_url=False, include_context=False)[0]
    where, value = ".".join(map(str, found["loc"])), found["input"]
    told = f"{where}: {found['msg']}" if where else found["msg"]
    told = told.encode("unicode_escape").decode()
    shown = f", got {ascii(value)[:_SHOWN]}" if isinstance(value, str | int | None) else ""
    return f"{told[: 3 * _SHOWN]}{shown}"


def _place(folder: str, name: str) -> str:
    """A file of a pack, as it is named to a person."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(local_name(folder) / name)


def _other_hash(folder: str | Path, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    told = f"{', '.join(names[:NAMED])}{more} has another hash than when written"
    return _damaged(folder, told)


def _damaged(folder: str | Path, what: str) -> str:
    return (
        f"data.path: {_place(str(folder), MANIFEST)}: {what}; run the pg-pack that made this pack "
        "again, or copy it anew from where it was made"
    )
