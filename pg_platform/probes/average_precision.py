"""Average precision of detected boxes, by three laws that give three numbers.

VOC (Everingham et al. 2010): a detection goes to the box that it overlaps most and is right if the
two overlap by half and the box was not found before; what goes to a `difficult` box counts neither
way. `voc11` averages the precision at 11 recalls (VOC 2007), `vocall` is the whole area (VOC 2010
and later). COCO: detections of an image choose in order among the boxes that are left, precision
is read at 101 recalls, and ten overlaps from 0.5 to 0.95 are averaged; `coco50` is the first.

Boxes are (x0, y0, x1, y1) on continuous axes in pixels: a VOC file's pixels from xmin to xmax are
(xmin - 1, xmax), and so overlaps are those of VOC's own code, which counts pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

HALF = 0.5
OVERLAPS = np.linspace(0.5, 0.95, 10)
_COCO_RECALLS = np.linspace(0, 1, 101)
_VOC_RECALLS = np.arange(11) / 10
MOST_DETECTIONS = 100
"""Of an image and a class; COCO counts no more."""


class GroundTruth(NamedTuple):
    """Boxes (n, 4) of a split, the image and class of each (n,), and whether it is difficult."""

    images: Numbers
    classes: Numbers
    boxes: Floats
    difficult: Flags


class Detections(NamedTuple):
    """Detected boxes (n, 4) of a split, the image and class of each (n,), and its score."""

    images: Numbers
    classes: Numbers
    boxes: Floats
    scores: Floats


class PrecisionRecall(NamedTuple):
    """Detections of a class from the surest on: right, wrong or neither; and boxes to find."""

    right: Flags
    wrong: Flags
    wanted: int


def mean_precision(truth: GroundTruth, found: Detections) -> dict[str, float]:
    """Means over the classes with a box to find: voc11, vocall, coco, coco50, all in [0, 1].

    Raises ValueError where no class has one.
    """
    return means(list(class_precision(truth, found).values()))


def class_precision(truth: GroundTruth, found: Detections) -> dict[int, dict[str, float]]:
    """The same of each class with a box to find."""
    return {label: _of_class(*_only(truth, found, label)) for label in wanted_classes(truth)}


def means(precisions: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each law over classes."""
    return {law: float(np.mean([one[law] for one in precisions])) for law in precisions[0]}


def wanted_classes(truth: GroundTruth) -> list[int]:
    """The classes with a box to find, ascending. Raises ValueError where no class has one."""
    present: list[int] = np.unique(truth.classes[~truth.difficult]).tolist()
    if not present:
        raise ValueError("average precision: all boxes of the split are difficult, or it has none")
    return present


def voc_judged(truth: GroundTruth, found: Detections) -> PrecisionRecall:
    """Detections of one class by VOC's law."""
    order = np.argsort(-found.scores, kind="stable")
    right, wrong = np.zeros(len(order), bool), np.zeros(len(order), bool)
    taken: set[int] = set()
    places = _places(truth)
    for i, detection in enumerate(order):
        there = places.get(int(found.images[detection]))
        overlap = (
            np.zeros(1)
            if there is None
            else overlaps(found.boxes[[detection]], truth.boxes[there])[0]
        )
        best = int(overlap.argmax())
        if there is None or overlap[best] < HALF:
            wrong[i] = True
        elif not truth.difficult[there[best]]:
            right[i] = there[best] not in taken
            wrong[i] = not right[i]
            taken.add(int(there[best]))
    return PrecisionRecall(right, wrong, int((~truth.difficult).sum()))


def coco_judged(truth: GroundTruth, found: Detections) -> list[PrecisionRecall]:
    """Detections of one class by COCO's law, at each of OVERLAPS; `difficult` is its `ignore`."""
    scores: list[Floats] = [np.zeros(0)]
    right: list[Flags] = [np.zeros((len(OVERLAPS), 0), bool)]
    wrong = list(right)
    places = _places(truth)
    for image in np.unique(found.images):
        own = np.flatnonzero(found.images == image)
        own = own[np.argsort(-found.scores[own], kind="stable")][:MOST_DETECTIONS]
        there = places.get(int(image), np.zeros(0, np.int64))
        between = overlaps(found.boxes[own], truth.boxes[there])
        judged = [_chosen(between, truth.difficult[there], least) for least in OVERLAPS]
        scores.append(found.scores[own])
        right.append(np.stack([each[0] for each in judged]))
        wrong.append(np.stack([each[1] for each in judged]))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    all_right, all_wrong = (np.concatenate(each, axis=1)[:, order] for each in (right, wrong))
    wanted = int((~truth.difficult).sum())
    return [PrecisionRecall(*each, wanted) for each in zip(all_right, all_wrong, strict=True)]


def eleven_points(judged: PrecisionRecall) -> float:
    """VOC 2007: the mean over recalls 0, 0.1 ... 1 of the best precision from there on."""
    return _at(judged, _VOC_RECALLS)


def all_points(judged: PrecisionRecall) -> float:
    """VOC 2010: the area under the best precision from each recall on."""
    recall, precision = _curve(judged)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def coco_points(judged: PrecisionRecall) -> float:
    """COCO: the mean over recalls 0, 0.01 ... 1 of the best precision from there on."""
    return _at(judged, _COCO_RECALLS)


def overlaps(one: Floats, other: Floats) -> Floats:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def _of_class(truth: GroundTruth, found: Detections) -> dict[str, float]:
    voc = voc_judged(truth, found)
    coco = [coco_points(judged) for judged in coco_judged(truth, found)]
    return {
        "voc11": eleven_points(voc),
        "vocall": all_points(voc),
        "coco": float(np.mean(coco)),
        "coco50": coco[0],
    }


def _chosen(between: Floats, difficult: Flags, least: float) -> tuple[Flags, Flags]:
    """Which detections of an image, surest first, are right and wrong at an overlap of `least`."""
    right, wrong = np.zeros(len(between), bool), np.zeros(len(between), bool)
    free = np.ones(len(difficult), bool)
    for i, overlap in enumerate(between):
        fits = free & (overlap >= least)
        # A difficult box is taken only where no other fits.
        fits = fits & ~difficult if (fits & ~difficult).any() else fits
        if not fits.any():
            wrong[i] = True
            continue
        best = int(np.where(fits, overlap, -1).argmax())
        free[best] = False
        right[i] = not difficult[best]
    return right, wrong


def _at(judged: PrecisionRecall, recalls: Floats) -> float:
    recall, precision = _curve(judged)
    reached = np.searchsorted(recall, recalls, side="left")
    return float(np.append(precision, 0.0)[reached].mean())


def _curve(judged: PrecisionRecall) -> tuple[Floats, Floats]:
    """Recall after each detection, and the best precision from there on."""
    right, wrong = judged.right.cumsum(), judged.wrong.cumsum()
    precision = right / np.maximum(right + wrong, 1)
    return right / judged.wanted, np.maximum.accumulate(precision[::-1])[::-1]


def _only(truth: GroundTruth, found: Detections, label: int) -> tuple[GroundTruth, Detections]:
    own, detected = truth.classes == label, found.classes == label
    return GroundTruth(*(each[own] for each in truth)), Detections(
        *(each[detected] for each in found)
    )


def _places(truth: GroundTruth) -> dict[int, Numbers]:
    """Where the boxes of each image stand."""
    return {int(image): np.flatnonzero(truth.images == image) for image in np.unique(truth.images)}
