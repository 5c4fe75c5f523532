"""The sets of images that the agents can see, by the `kind` of the section `data`."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor
from torchvision import datasets

from pg_platform.config.errors import DataError
from pg_platform.config.experiment import (
    Cifar10,
    Data,
    Digits,
    ImageFolder,
    Packed,
    Parquet,
    Shapes,
    Stl10,
)
from pg_platform.data.folder import open_folder
from pg_platform.data.membership import Split, belongs
from pg_platform.data.packed import open_packed
from pg_platform.data.shapes import SHAPES, Drawing
from pg_platform.data.split import Images

__all__ = ["Images", "Split", "open_images"]


def open_images(data: Data, split: Split) -> Images:
    """One split of the images that `data` describes, equal for every seed of an experiment.

    Images that are not in files are held in memory, (n, 3, h, w) uint8, and the hash of their
    index decides the split. Raises ValueError, with the key and a remedy, where the images cannot
    be had or the split is empty.
    """
    images = _open(data, split)
    if not len(images):
        raise ValueError(
            f"data: the {split} split has no image; data.val_fraction is {data.val_fraction:g}, "
            f"and a {'larger' if split == 'val' else 'smaller'} one gives it more"
        )
    return images


def _open(data: Data, split: Split) -> Images:
    match data:
        case Digits():
            return _digits(data, split)
        case Shapes():
            return _shapes(data, split)
        case Cifar10():
            return _cifar10(data, split)
        case Stl10():
            return _stl10(data, split)
        case ImageFolder():
            return open_folder(data, split)
        case Parquet():
            from pg_platform.data.parquet import open_parquet

            return open_parquet(data, split)
        case Packed():
            return open_packed(data, split)
        case _:
            assert_never(data)


def _digits(data: Digits, split: Split) -> Images:
    """8 x 8 pixels of 0 to 16, spread to 0 to 255; the views enlarge them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = _rows(len(digits.images), split, data.val_fraction)
    grey = (torch.from_numpy(digits.images)[rows] * 255 / 16).round().to(torch.uint8)
    return Images(
        classes=tuple(str(name) for name in digits.target_names),
        labels=torch.from_numpy(digits.target)[rows].long(),
        ids=_ids(rows),
        pixels=grey[:, None].repeat(1, 3, 1, 1),
    )


def _shapes(data: Shapes, split: Split) -> Images:
    drawing, rows = Drawing(data), _rows(data.count, split, data.val_fraction)
    attributes = {name: values[rows] for name, values in drawing.attributes.items()}
    return Images(
        classes=SHAPES,
        labels=attributes["shape"],
        ids=_ids(rows),
        pixels=drawing.draw(rows),
        attributes=attributes,
    )


def _cifar10(data: Cifar10, split: Split) -> Images:
    """Both splits come from the 50,000 training images (sec. 4: 5 % of them for validation)."""
    cifar = _downloaded(partial(datasets.CIFAR10, train=True), data.path, "CIFAR-10")
    return _of_arrays(
        cifar.data.transpose(0, 3, 1, 2), cifar.targets, cifar.classes, (split, data.val_fraction)
    )


def _stl10(data: Stl10, split: Split) -> Images:
    """Both splits come from the 5,000 labelled and 100,000 unlabelled images for training."""
    stl = _downloaded(partial(datasets.STL10, split="train+unlabeled"), data.path, "STL-10")
    return _of_arrays(stl.data, stl.labels, stl.classes, (split, data.val_fraction))


def _of_arrays(pixels: Any, labels: Any, classes: list[str], part: tuple[Split, float]) -> Images:
    """Images from numpy arrays (n, 3, h, w) uint8 and (n,) integers."""
    rows = _rows(len(pixels), *part)
    return Images(
        classes=tuple(classes),
        labels=torch.as_tensor(labels).long()[rows],
        ids=_ids(rows),
        pixels=torch.from_numpy(pixels)[rows].contiguous(),
    )


def _downloaded(build: Callable[..., Any], path: str, name: str) -> Any:
    """A set of torchvision, which checks its md5; downloaded by one process at a time."""
    folder = Path(path).expanduser()
    with suppress(RuntimeError):  # torchvision's word for "not there"
        return build(root=folder, download=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".download.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return build(root=folder, download=True)
    except (OSError, RuntimeError, HTTPException) as problem:
        raise DataError(
            "data.path",
            f"{name} is not in {folder} and cannot be downloaded ({problem})",
            "say where it lies with {}, or put torchvision's archive of it there",
            "FOLDER",
        ) from problem


def _rows(count: int, split: Split, val_fraction: float) -> Tensor:
    """The indices below `count` that are in `split`, ascending."""
    return torch.tensor([i for i in range(count) if belongs(str(i), split, val_fraction)]).long()


def _ids(rows: Tensor) -> list[str]:
    return [str(i) for i in rows.tolist()]
