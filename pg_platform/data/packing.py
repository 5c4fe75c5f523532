"""Makes a pack of an image folder or of parquet files: decoded, reduced, in hashed shards."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from pg_platform.config.experiment import Data, ImageFolder, Parquet
from pg_platform.data.crops import PLAIN_CROP
from pg_platform.data.identity import identity
from pg_platform.data.image_set import BROKEN_SHARE, NAMED, Encoded, Images
from pg_platform.data.images import open_folder
from pg_platform.data.listing import Split, folder_images
from pg_platform.data.packs import MANIFEST, Entry, Manifest, Shard, shard_names
from pg_platform.data.verified import file_hash, remember

_NO_HASH = 1e-30
"""A val_fraction below every hash: the training split is then the whole set."""


def write_pack(data: Data, folder: Path, shard_images: int, report: Callable[[str], None]) -> int:
    """Pack the images of `data` into `folder`; the number of images in the pack.

    Shards that are there with the right hash stay, so that a call that was killed goes on.
    Broken images are left out and reported. Raises ValueError where more than BROKEN_SHARE are,
    where `folder` holds a pack of something else, or where another process writes it.
    """
    parts = _parts(data)
    with _alone(folder):
        origin = f"{identity(data)} image_size {data.image_size} shard_images {shard_images}"
        tasks = list(_tasks(parts, shard_images))
        entries: list[Entry] = []
        written, broken = 0, list[str]()
        for name, task in zip(shard_names(), tasks, strict=False):
            shard = _kept(folder, name, origin)
            how = "was there"
            if shard is None:
                shard, how = _write(folder / name, origin, task, data), "written"
            written, broken = written + len(shard.ids), broken + shard.broken
            entries.append(
                Entry(name=name, pixels=shard.sha256, index=file_hash(folder / f"{name}.json"))
            )
            report(f"{name} {how}: {len(entries)} of {len(tasks)}, {written} images")
            for one in shard.broken:
                report(f"broken, left out: {one}")
            _check_broken(broken, parts)
        manifest = Manifest(
            version=1,
            image_size=data.image_size,
            classes=list(parts[0].images.classes),
            shards=entries,
        )
        _replace(folder / MANIFEST, manifest.model_dump_json().encode())
    return written


def reduced(image: Tensor, image_size: int) -> Tensor:
    """(3, h, w) uint8 with a shorter side of image_size * 256 / 224, and never larger than it was.

    Bicubic and antialiased; it is the size from whose middle the plain view is cut.
    """
    shorter = round(image_size / PLAIN_CROP)
    if min(image.shape[1:]) <= shorter:
        return image
    smaller: Tensor = F.resize(image, [shorter], InterpolationMode.BICUBIC, antialias=True)
    return smaller


@dataclass(frozen=True)
class _Part:
    """Images of one role: a split of the source, or None, all of it."""

    role: Split | None
    images: Images


@dataclass(frozen=True)
class _Task:
    """The images that go into one shard, by position; a shard has one role."""

    part: _Part
    positions: range


def _parts(data: Data) -> list[_Part]:
    match data:
        case ImageFolder():
            whole = data.model_copy(update={"val_fraction": _NO_HASH})
            if "val" in folder_images(data):
                return [
                    _Part("train", open_folder(data, "train")),
                    _Part("val", open_folder(data, "val")),
                ]
            return [_Part(None, open_folder(whole, "train"))]
        case Parquet():
            from pg_platform.data.parquet import open_parquet

            if data.val_path is not None:
                return [
                    _Part("train", open_parquet(data, "train")),
                    _Part("val", open_parquet(data, "val")),
                ]
            whole_rows = data.model_copy(update={"val_fraction": _NO_HASH})
            return [_Part(None, open_parquet(whole_rows, "train"))]
        case _:
            raise ValueError(
                f"data.kind is {data.kind}; a pack is made from image_folder or parquet, the "
                "others are held in memory or packed already"
            )


def _tasks(parts: list[_Part], shard_images: int) -> Iterator[_Task]:
    for part in parts:
        for start in range(0, len(part.images), shard_images):
            yield _Task(part, range(start, min(start + shard_images, len(part.images))))


def _kept(folder: Path, name: str, origin: str) -> Shard | None:
    """The shard `name` where it is finished and whole; ValueError where it is of another origin."""
    index, pixels = folder / f"{name}.json", folder / f"{name}.bin"
    if not index.is_file() or not pixels.is_file():
        return None
    try:
        shard = Shard.model_validate_json(index.read_bytes())
    except ValidationError:  # damaged: the shard is written again
        return None
    if shard.origin != origin:
        raise ValueError(
            f"{folder} holds a pack of {shard.origin}, and this would be one of {origin}; name "
            "another folder, or remove that one"
        )
    if file_hash(pixels) != shard.sha256:
        return None
    remember(pixels, shard.sha256)
    return shard


def _write(stem: Path, origin: str, task: _Task, data: Data) -> Shard:
    """Decode the images of a task into `stem`.bin and .json, each whole or not at all."""
    images, kept, broken = task.part.images, list[int](), list[str]()
    places: list[tuple[int, int, int]] = []
    offset, digest = 0, hashlib.sha256()
    partial = stem.with_suffix(".partial")
    with _anew(partial) as file:
        loaded = _loaded(images, task.positions, data.image_size)
        for position, found in zip(task.positions, loaded, strict=True):
            match found:
                case str(reason):
                    broken.append(reason)
                case Tensor():
                    raw = found.numpy().tobytes()
                    file.write(raw)
                    digest.update(raw)
                    kept.append(position)
                    places.append((offset, found.shape[1], found.shape[2]))
                    offset += len(raw)
        file.flush()
        os.fsync(file.fileno())
    shard = Shard(
        origin=origin,
        sha256=digest.hexdigest(),
        ids=[images.ids[position] for position in kept],
        labels=images.labels[kept].tolist(),
        roles=[task.part.role] * len(kept),
        offsets=[place[0] for place in places],
        heights=[place[1] for place in places],
        widths=[place[2] for place in places],
        broken=broken,
    )
    partial.replace(stem.with_suffix(".bin"))
    remember(stem.with_suffix(".bin"), shard.sha256)
    _replace(stem.with_suffix(".json"), shard.model_dump_json().encode())
    return shard


def _loaded(images: Images, positions: range, image_size: int) -> DataLoader[Tensor | str]:
    assert not isinstance(images.pixels, Tensor), "a folder and parquet files hold encoded images"
    return DataLoader(
        _Reduced(images.pixels, image_size),
        batch_size=None,
        sampler=positions,
        num_workers=images.pixels.processes,
        generator=torch.Generator(),
    )


@dataclass(frozen=True)
class _Reduced(Dataset["Tensor | str"]):
    """Images by position, reduced; or what is wrong with one."""

    encoded: Encoded
    image_size: int

    def __getitem__(self, position: int) -> Tensor | str:
        try:
            return reduced(self.encoded.image(position), self.image_size)
        except (OSError, RuntimeError, ValueError) as problem:
            return f"{self.encoded.name(position)}: {problem}"


def _check_broken(broken: list[str], parts: list[_Part]) -> None:
    allowed = sum(part.images.broken_allowed for part in parts)
    if len(broken) > allowed:
        more = f"; and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        raise ValueError(
            f"{len(broken)} images cannot be decoded, and at most {allowed} of "
            f"{sum(len(part.images) for part in parts)} may be ({BROKEN_SHARE:.0%}): "
            f"{'; '.join(broken[:NAMED])}{more}; mend or remove them"
        )


def _replace(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    with _anew(partial) as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def _anew(file: Path) -> BinaryIO:
    """A new file to write, never what a link of that name, in a folder from elsewhere, leads to."""
    file.unlink(missing_ok=True)
    return file.open("xb")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which the system drops when this process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    if lock.is_symlink():
        raise ValueError(f"{lock} is a link, which pg-pack does not make; remove it")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another pg-pack writes {folder} already; wait for it, or end it first"
            ) from None
        yield
