"""Photos and boxes in the layout of Pascal VOC's development kit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import torch
from torch import Tensor

from pg_platform.data.decoding import decode

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


@dataclass(frozen=True)
class Photo:
    """A photo with its boxes (n, 4), their classes (n,) from 0 and which are difficult (n,).

    Boxes are (x0, y0, x1, y1) in pixels on continuous axes: the file's pixels from xmin to xmax,
    counted from 1, are (xmin - 1, xmax).
    """

    file: Path
    boxes: Tensor
    classes: Tensor
    difficult: Tensor

    def pixels(self) -> Tensor:
        """(3, h, w) in [0, 1]. Raises ValueError where the file is no image."""
        try:
            return decode(self.file.read_bytes()).float() / 255
        except (RuntimeError, ValueError) as problem:
            raise ValueError(f"voc: {self.file} cannot be decoded: {problem}") from problem


def voc_photos(folder: Path, years: Iterable[int], split: str) -> list[Photo]:
    """The photos that VOCdevkit/VOC<year>/ImageSets/Main/<split>.txt below `folder` lists.

    Raises ValueError, with the file, where a list, photo or annotation is missing or wrong.
    """
    return [
        _photo(folder / "VOCdevkit" / f"VOC{year}", name)
        for year in years
        for name in _names(folder / "VOCdevkit" / f"VOC{year}", split)
    ]


def _names(year: Path, split: str) -> list[str]:
    listing = year / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise ValueError(
            f"voc: no list {listing}; give the folder that holds VOCdevkit (--set voc=FOLDER) and "
            "the years and splits that are there"
        )
    names = [line.split()[0] for line in listing.read_text().splitlines() if line.strip()]
    if not names:
        raise ValueError(f"voc: {listing} lists no photo")
    return names


def _photo(year: Path, name: str) -> Photo:
    file, annotation = year / "JPEGImages" / f"{name}.jpg", year / "Annotations" / f"{name}.xml"
    for needed in (file, annotation):
        if not needed.is_file():
            raise ValueError(f"voc: no file {needed}, though the list of its split names it")
    try:
        objects = ElementTree.parse(annotation).getroot().findall("object")
    except ElementTree.ParseError as problem:
        raise ValueError(f"voc: {annotation} is no XML: {problem}") from problem
    return Photo(
        file,
        torch.tensor([_box(each, annotation) for each in objects]).reshape(-1, 4),
        torch.tensor([_class(each, annotation) for each in objects], dtype=torch.long),
        torch.tensor([each.findtext("difficult") == "1" for each in objects], dtype=torch.bool),
    )


def _box(thing: ElementTree.Element, annotation: Path) -> list[float]:
    texts = [thing.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = (_number(text, annotation) for text in texts)
    if x0 > x1 or y0 > y1:
        raise ValueError(f"voc: {annotation} has a box that ends before it begins: {texts}")
    return [x0 - 1, y0 - 1, x1, y1]


def _number(text: str | None, annotation: Path) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"voc: {annotation} has a box with edge {text!r}; wants a number")
    return number


def _class(thing: ElementTree.Element, annotation: Path) -> int:
    name = thing.findtext("name")
    if name not in VOC_CLASSES:
        raise ValueError(f"voc: {annotation} names {name!r}; VOC's are {', '.join(VOC_CLASSES)}")
    return VOC_CLASSES.index(name)
