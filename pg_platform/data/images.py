"""The sets of images that the agents can see, by the `kind` of the section `data`."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor
from torchvision import datasets

from pg_platform.config.custom import told_in_place
from pg_platform.config.errors import DataError
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
from pg_platform.data.decoding import decode
from pg_platform.data.image_set import Images
from pg_platform.data.listing import Split, belongs, folder_images
from pg_platform.data.packed import open_packed
from pg_platform.data.shapes import SHAPES, Drawing


def open_folder(data: ImageFolder, split: Split) -> Images:
    """One split of an image folder; its classes are the sorted names of the class folders.

    train/ and val/ are the splits where both are there. Else the hash of each path, counted from
    the folder that holds the classes, decides. Raises ValueError where there is no such folder
    or a class of val/ is not in train/.
    """
    roots = folder_images(data)
    train = "train" if "train" in roots else "."
    root = "val" if split == "val" and "val" in roots else train
    names = roots[root]
    if "val" not in roots:
        names = [name for name in names if belongs(name, split, data.val_fraction)]
    number = {name: i for i, name in enumerate(sorted({_class(name) for name in roots[train]}))}
    if unknown := {_class(name) for name in names}.difference(number):
        raise ValueError(f"data.path: the class {min(unknown)} of val/ is not in train/")
    return Images(
        classes=tuple(number),
        labels=torch.tensor([number[_class(name)] for name in names], dtype=torch.int64),
        ids=names,
        pixels=FolderFiles(Path(data.path).expanduser() / root, names, data.loader_processes),
    )


@dataclass(frozen=True)
class FolderFiles:
    """The image files `names` below `root`."""

    root: Path
    names: Sequence[str]
    processes: int

    def read(self, position: int) -> bytes:
        """The bytes of the file; OSError where it is gone."""
        return (self.root / self.names[position]).read_bytes()

    def image(self, position: int) -> Tensor:
        """(3, h, w) uint8; RuntimeError or ValueError where it cannot be decoded."""
        return decode(self.read(position))

    def name(self, position: int) -> str:
        """Its whole path."""
        return str(self.root / self.names[position])


def _class(name: str) -> str:
    return name.split("/", 1)[0]


__all__ = ["Images", "Split", "open_images"]


def open_images(data: Data, split: Split) -> Images:
    """One split of the images that `data` describes, equal for every seed of an experiment.

    Images that are not in files are held in memory, (n, 3, h, w) uint8, and the hash of their
    index decides the split. Raises ValueError, with the key and a remedy, where the images cannot
    be had or the split is empty.
    """
    images = _open(data, split)
    if not len(images):
        if isinstance(data, CustomData):
            raise ValueError(f"data: {data.target} has no image in the {split} split")
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
        case CustomData():
            return _custom(data, split)
        case _:
            assert_never(data)


def _custom(data: CustomData, split: Split) -> Images:
    """Of a class from outside; ValueError where it gives none that the loaders can take."""
    own = data.load()
    try:
        images = own(data, data.options).images(split)
    except Exception as error:
        raise ValueError(f"data: {data.target}: {told_in_place(error, data.folder)}") from error
    if not isinstance(images, Images):
        given = type(images).__name__
        raise ValueError(f"data: {data.target}.images wants to give Images, it gives {given}")
    count = len(images.labels)
    if len(images.ids) != count:
        raise ValueError(f"data: {data.target} gives {count} labels and {len(images.ids)} ids")
    pixels = images.pixels
    if isinstance(pixels, Tensor) and (
        pixels.dtype != torch.uint8 or pixels.shape[:2] != (count, 3) or pixels.ndim != 4
    ):
        raise ValueError(
            f"data: {data.target}: pixels want to be ({count}, 3, h, w) uint8, they are "
            f"{tuple(pixels.shape)} {str(pixels.dtype).removeprefix('torch.')}"
        )
    return images


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
