"""What decides the pixels and labels of a set of images, as a short text. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from pg_platform.config.experiment import (
    Cifar10,
    CustomData,
    Data,
    Digits,
    ImageFolder,
    Packed,
    Parquet,
    Shapes,
    Stl10,
)
from pg_platform.config.paths import path_keys
from pg_platform.data.listing import folder_images, parquet_roles
from pg_platform.data.packs import read_manifest

SHAPES_DRAWING = 1
"""Counts the changes of what shapes.py draws for equal settings."""


def identity(data: Data) -> str:
    """A text such as "image_folder-3fa29c01d2e4": equal for equal images, wherever they lie.

    The names and sizes of the files of a folder decide, and the footers of parquet files, which
    hold the sizes and statistics of their columns; of a pack, the hashes in its manifest: a set of
    any size is known in seconds. Of a class from outside the package its source and options
    decide, and names and sizes of the files below those of its options that are paths.
    Raises ValueError where the files are not there.
    """
    return f"{data.kind}-{hashlib.sha256(_deciding(data)).hexdigest()[:12]}"


def _deciding(data: Data) -> bytes:
    match data:
        case Digits():
            from sklearn.datasets import load_digits

            digits = load_digits()
            return bytes(digits.images.tobytes() + digits.target.tobytes())
        case Shapes():
            settings = (SHAPES_DRAWING, data.count, data.image_size, data.seed)
            return f"drawing, count, image_size, seed: {settings}".encode()
        case Cifar10() | Stl10():
            return f"{data.kind}, checked by torchvision's md5".encode()
        case ImageFolder():
            return _lines(_folder_lines(data))
        case Parquet():
            return _lines(_parquet_lines(data))
        case Packed():
            return _lines(_pack_lines(data))
        case CustomData():
            return _lines(_custom_lines(data))
        case _:
            assert_never(data)


def _folder_lines(data: ImageFolder) -> Iterable[str]:
    folder = Path(data.path).expanduser()
    for root, names in folder_images(data).items():
        for name in names:
            path = folder / root / name
            # a link that leads nowhere is a broken image, and those are counted when read
            size = path.stat().st_size if path.exists() else -1
            yield f"{root}/{name} {size}"


def _parquet_lines(data: Parquet) -> Iterable[str]:
    yield f"columns {data.image_column} {data.label_column}"
    for role, files in parquet_roles(data).items():
        for file in files:
            footer = hashlib.sha256(_footer(file)).hexdigest()
            yield f"{role} {file.name} {file.stat().st_size} {footer}"


def _pack_lines(data: Packed) -> Iterable[str]:
    for shard in read_manifest(data.path).shards:
        yield f"{shard.pixels} {shard.index}"


def _custom_lines(data: CustomData) -> Iterable[str]:
    options = data.options.model_dump(mode="json")
    paths = {key: options.pop(key) for key in path_keys(type(data.options)) if key in options}
    yield f"{data.target} {data.source} {json.dumps(options, sort_keys=True)}"
    for key, path in paths.items():
        place = Path(path or "")
        files = [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.is_file())
        yield f"{key} {path if path is None or not place.exists() else 'files'}"
        yield from (f"{f.relative_to(place).as_posix()} {f.stat().st_size}" for f in files)


def _footer(file: Path) -> bytes:
    """The footer of a parquet file: metadata, its length in 4 bytes, and "PAR1"."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - 8))
        length, magic = stream.read(4), stream.read(4)
        if magic != b"PAR1":
            raise ValueError(f"data.path: {file} is not a parquet file")
        stream.seek(max(0, size - 8 - int.from_bytes(length, "little")))
        return stream.read()


def _lines(lines: Iterable[str]) -> bytes:
    return "\n".join(lines).encode()
