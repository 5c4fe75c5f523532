"""A folder of image files in ImageNet's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pg_platform.config.experiment import ImageFolder
from pg_platform.data.decoding import decode
from pg_platform.data.listing import folder_images
from pg_platform.data.membership import Split, belongs
from pg_platform.data.split import Images


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
