"""Table 2: Pascal VOC object detection with Faster R-CNN on the listener's ResNet-18.

The detector and its short schedule are those of probes/detector.py, learned from `train` and
scored on `test`, where difficult boxes are ignored. One set of boxes gives a number by each law of
probes/average_precision.py.

With `baseline` the same is done with the weights that the run's seed gave before training. Frozen,
their normalisations would normalise nothing, so they first get the statistics of a few photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt
from torch.nn.functional import interpolate

from pg_platform.config.experiment import Experiment, ResNet18Vision
from pg_platform.config.paths import Location
from pg_platform.data.views import normalize
from pg_platform.data.voc import VOC_CLASSES, Photo, voc_photos
from pg_platform.evaluation.messages import some
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.game.batch_norm import batch_norms
from pg_platform.game.listener import SMALL_IMAGE
from pg_platform.game.patch_game import PatchGame
from pg_platform.methods import build
from pg_platform.plots.images import Boxed, boxes_over
from pg_platform.probes.average_precision import (
    Detections,
    GroundTruth,
    class_precision,
    means,
    wanted_classes,
)
from pg_platform.probes.detector import Schedule, detected, detector_on, learned, truth_of
from pg_platform.store.table import Table

_WIDTH = 64
_MOST_DRAWN = 5
"""Detections of a photo in the figure; more hide it."""
_SETTLING, _SIDE = 32, 224
"""Photos and their side in pixels that settle the normalisations of an untrained listener."""

Years = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
ClassPrecision = dict[int, dict[str, float]]


class Options(Schedule):
    """`voc` holds VOCdevkit with VOC<year>; `drawn` photos of the test are shown with boxes."""

    voc: Location
    train: str = "trainval"
    train_years: Years = (2007, 2012)
    test: str = "test"
    test_years: Years = (2007,)
    baseline: bool = False
    drawn: PositiveInt = 8


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Mean average precision, a table of the classes and a figure.

    Raises ValueError for another network and where photos are missing or hold nothing to find.
    """
    check_network(trained.experiment)
    train, test = _splits(options)
    truth = truth_of(test)
    classes = wanted_classes(truth)
    games = {"map": trained.game}
    if options.baseline:
        games["random_init"] = untrained(trained.experiment, train).to(trained.device)
    seen: dict[str, Detections] = {}
    for name, game in games.items():
        detector = detector_on(game.listener.vision, options).to(trained.device)
        seen[name] = detected(learned(detector, train, options), test, options.batch)
    precision = {name: class_precision(truth, found) for name, found in seen.items()}
    protocol = f"s{options.steps}x{options.batch}_{options.min_size}px_n{len(test)}"
    return EvaluationResult(
        {
            f"detection/{name}_{law}_{protocol}": value
            for name, of_classes in precision.items()
            for law, value in means(list(of_classes.values())).items()
        },
        tables={"table2": _table(precision, truth)},
        figures={"boxes": _drawing(test, truth, seen["map"], options)},
        words=_words(options, len(train), len(test), len(classes)),
    )


def check_network(experiment: Experiment) -> None:
    """Raise ValueError where the listener's network is not the one of torchvision's detector."""
    vision, side = experiment.listener.vision, experiment.data.image_size
    if not isinstance(vision, ResNet18Vision) or vision.width != _WIDTH:
        width = "" if not isinstance(vision, ResNet18Vision) else f" of width {vision.width}"
        raise ValueError(
            f"detection: the listener looks with {vision.kind}{width}, and the detector stands on "
            f"a resnet18 of width {_WIDTH}; evaluate a run with listener.vision: "
            f"{{kind: resnet18, width: {_WIDTH}}}"
        )
    if side <= SMALL_IMAGE:
        raise ValueError(
            f"detection: for images of {side} pixels the listener's resnet18 has a 3x3 stem, and "
            f"the detector's is 7x7; evaluate a run with data.image_size over {SMALL_IMAGE}"
        )


def untrained(experiment: Experiment, photos: Sequence[Photo]) -> PatchGame:
    """The game before training, its listener normalising by the first of the photos."""
    game = build(experiment)
    for norm in batch_norms(game.listener.vision):
        norm.group, norm.momentum = None, 1.0
    pixels = torch.cat(
        [interpolate(p.pixels()[None], (_SIDE, _SIDE), mode="area") for p in photos[:_SETTLING]]
    )
    with torch.no_grad():
        game.train().listener.vision(normalize(pixels))
    return game.eval()


def _splits(options: Options) -> tuple[list[Photo], list[Photo]]:
    """Photos to learn from and to test on. Raises ValueError where a photo is both."""
    folder = Path(options.voc).expanduser()
    train = voc_photos(folder, options.train_years, options.train)
    test = voc_photos(folder, options.test_years, options.test)
    shared = {photo.file for photo in train} & {photo.file for photo in test}
    if shared:
        raise ValueError(
            f"detection: {len(shared)} photos of {options.test} are in {options.train} too, "
            f"{min(shared)} for one; --set test=SPLIT names one that is not learned from"
        )
    return train, test


def _table(precision: dict[str, ClassPrecision], truth: GroundTruth) -> Table:
    """A row for each class with a box to find, and the boxes of it that there are to find."""
    columns = [(name, law) for name, of in precision.items() for law in next(iter(of.values()))]
    rows = tuple(
        (
            VOC_CLASSES[label],
            int(((truth.classes == label) & ~truth.difficult).sum()),
            *(precision[name][label][law] for name, law in columns),
        )
        for label in wanted_classes(truth)
    )
    return Table(("class", "boxes", *(f"{name}_{law}" for name, law in columns)), rows)


def _drawing(
    test: Sequence[Photo], truth: GroundTruth, found: Detections, options: Options
) -> Figure:
    """Some photos by chance, each with its surest boxes: as many as there are, if not too many."""
    chosen = some(torch.arange(len(test)), options.drawn, options.seed, "detection").tolist()
    photos = []
    for i in chosen:
        there = np.flatnonzero((truth.images == i) & ~truth.difficult)
        own = np.flatnonzero(found.images == i)
        surest = own[np.argsort(-found.scores[own], kind="stable")][: min(len(there), _MOST_DRAWN)]
        photos.append(
            Boxed(
                test[i].pixels(),
                [(VOC_CLASSES[truth.classes[k]], truth.boxes[k].tolist()) for k in there],
                [
                    (
                        f"{VOC_CLASSES[found.classes[k]]} {found.scores[k]:.2f}",
                        found.boxes[k].tolist(),
                    )
                    for k in surest
                ],
            )
        )
    caption = (
        "test photos by chance; of each the surest boxes, as many as there are to find and at most "
        f"{_MOST_DRAWN}"
    )
    return boxes_over(photos, min(4, len(photos)), caption)


def _words(options: Options, train: int, test: int, classes: int) -> str:
    return (
        f"NOT THE PAPER'S SCHEDULE: {options.steps} steps of {options.batch} photos on {train} "
        f"photos, tested on {test}, with a ResNet-18 and a feature pyramid; Table 2 follows MoCo's "
        "protocol, a ResNet-50 C4 for 24k iterations of 16 photos. These numbers compare "
        "listeners with one another under this one schedule.\n"
        "The same boxes give three numbers: voc11 (11 recalls, VOC 2007), vocall (whole area, VOC "
        "2010 and later), coco (101 recalls, overlaps 0.5 to 0.95; coco50 at 0.5). Difficult boxes "
        f"are ignored. The mean is over the {classes} of VOC's {len(VOC_CLASSES)} classes that "
        "have a box to find."
    )
