"""Which files a set of images consists of. Imports no torch: plans are made from it."""

from __future__ import annotations

import hashlib
import os
from glob import glob, has_magic
from pathlib import Path
from typing import Literal

from pg_platform.config.errors import DataError
from pg_platform.config.experiment import ImageFolder, Parquet

EXTENSIONS = (".gif", ".jpeg", ".jpg", ".png", ".webp")
"""What counts as an image in a folder, in capital or small letters."""


def folder_images(data: ImageFolder) -> dict[str, list[str]]:
    """The images below each root of a folder, as sorted CLASS/NAME.jpg relative to that root.

    The roots are "train" and "val" where both hold folders, "train" where only it does, else "."
    itself. An image lies in a folder of its class, however deep. Links are followed. Raises
    ValueError where there is no folder, no class or no image.
    """
    folder = Path(data.path).expanduser()
    if not folder.is_dir():
        raise DataError("data.path", f"no folder {folder}", "say where it lies with {}", "FOLDER")
    roots = [name for name in ("train", "val") if _folders(folder / name)]
    if roots == ["val"]:
        raise ValueError(f"data.path: {folder} has val/ but no train/ with a folder per class")
    return {root: _images_of_classes(folder / root) for root in roots or ["."]}


def parquet_files(path: str, key: str) -> list[Path]:
    """The parquet files that `path`, the value of `key`, names: a file, a folder or a pattern."""
    place = Path(path).expanduser()
    if place.is_dir():
        files = sorted(place.rglob("*.parquet"))
    elif has_magic(str(place)) and not place.is_file():
        files = _matching(place)
    else:
        files = [place]
    if missing := [file for file in files if not file.is_file()]:
        raise DataError(key, f"no file {missing[0]}", "say where it lies with {}", "PATH")
    if not files:
        raise DataError(key, f"no parquet file in {place}", "try {}", "PATH")
    return files


def parquet_roles(data: Parquet) -> dict[str, list[Path]]:
    """The files of `data.path` as "train" and, where it is given, of `data.val_path` as "val"."""
    roles = {"train": parquet_files(data.path, "data.path")}
    if data.val_path is not None:
        roles["val"] = parquet_files(data.val_path, "data.val_path")
    return roles


def row_name(file: Path, row: int, path: str | None) -> str:
    """The text whose hash decides the split of a row: its column `path` where it has one."""
    return path or f"{file.name}:{row}"


def _matching(pattern: Path) -> list[Path]:
    """The paths that match; what is there as it is written, such as a folder [1], is no pattern."""
    folder = next(parent for parent in pattern.parents if parent.is_dir())
    rest = str(pattern.relative_to(folder))
    return [folder / name for name in sorted(glob(rest, root_dir=folder, recursive=True))]


def _images_of_classes(root: Path) -> list[str]:
    classes = _folders(root)
    if not classes:
        raise ValueError(
            f"data.path: {root} has no folder per class in it; images lie in CLASS/NAME.jpg, or in "
            "train/CLASS/NAME.jpg and val/CLASS/NAME.jpg"
        )
    skip = len(str(root)) + 1
    found = sorted(
        f"{folder[skip:]}/{name}"
        for one in classes
        for folder, _, names in os.walk(root / one, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    )
    if not found:
        raise ValueError(
            f"data.path: no image in the folders of {root}; wanted are {', '.join(EXTENSIONS)}"
        )
    return found


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")


Split = Literal["train", "val"]


def belongs(name: str, split: Split, val_fraction: float) -> bool:
    """Whether the image called `name` is in `split`: a function of these three only."""
    return (name_hash(name) < val_fraction * 2**64) == (split == "val")


def name_hash(name: str) -> int:
    """64 bits that depend on the whole of `name`."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
