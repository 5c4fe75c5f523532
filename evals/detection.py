"""Table 2: Pascal VOC object detection with Faster R-CNN on the listener's ResNet-18.

All weights of the listener's network go into the body of torchvision's Faster R-CNN with a feature
pyramid, and all of it learns, but for the batch normalisations: they stay as the listener has left
them. The schedule has the form of MoCo's protocol (SGD, warm-up, a tenth of the learning rate
after 3/4 and again after 11/12 of the steps; photos mirrored by chance; difficult boxes learned
from, and ignored in scoring) and is short. Gradients are cut to a norm of `clip`: without it the
untrained network's loss was seen to become NaN in a dozen steps at the default learning rate.

With `baseline` the same is done with the weights that the run's seed gave before training. Frozen,
their normalisations would normalise nothing, so they first get the statistics of a few photos.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_image
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from pg_platform.config.document import Section
from pg_platform.config.experiment import Experiment, ResNet18Vision
from pg_platform.config.seeds import stream
from pg_platform.data.views import normalize
from pg_platform.data.voc import VOC_CLASSES, Photo, voc_photos
from pg_platform.game.batch_norm import batch_norms
from pg_platform.game.listener import SMALL_IMAGE
from pg_platform.game.patch_game import PatchGame
from pg_platform.methods import build
from pg_platform.results.average_precision import Found, Truth, mean_precision
from pg_platform.results.measured import Measured
from pg_platform.results.trained import Trained

_WIDTH = 64
_SETTLING, _SIDE = 32, 224
"""Photos and their side in pixels that settle the normalisations of an untrained listener."""
_LONGEST = 1333 / 800
"""The most that a photo's longer side is of `min_size`, as in torchvision and detectron2."""

Years = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Options(Section):
    """`voc` holds VOCdevkit with VOC<year>; the schedule; photos are scaled to `min_size`.

    The head learns from so many `proposals` of a photo; on small machines most time goes there.
    """

    voc: str = Field(min_length=1)
    train: str = "trainval"
    train_years: Years = (2007, 2012)
    test: str = "test"
    test_years: Years = (2007,)
    steps: PositiveInt = 2000
    batch: PositiveInt = 8
    lr: PositiveFloat = 0.01
    momentum: PositiveFloat = 0.9
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: PositiveFloat = 10.0
    warmup: float = Field(default=0.05, ge=0, lt=1)
    min_size: int = Field(default=480, ge=32)
    proposals: PositiveInt = 512
    seed: NonNegativeInt = 0
    baseline: bool = False


def evaluate(trained: Trained, options: Options) -> Measured:
    """Mean average precision. Raises ValueError for another network or where photos are missing."""
    check_network(trained.experiment)
    folder = Path(options.voc).expanduser()
    train = voc_photos(folder, options.train_years, options.train)
    test = voc_photos(folder, options.test_years, options.test)
    shared = {photo.file for photo in train} & {photo.file for photo in test}
    if shared:
        raise ValueError(
            f"detection: {len(shared)} photos of {options.test} are in {options.train} too, "
            f"{min(shared)} for one; --set test=SPLIT names one that is not learned from"
        )
    games = {"map": trained.game}
    if options.baseline:
        games["random_init"] = untrained(trained.experiment, train).to(trained.device)
    metrics = {}
    for name, game in games.items():
        detector = learned(detector_on(game, options).to(trained.device), train, options)
        found = mean_precision(truth_of(test), detected(detector, test, options.batch))
        for law, value in found.items():
            metrics[f"detection/{name}_{law}_s{options.steps}"] = value
    return Measured(metrics, words=_words(options, len(train), len(test)))


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
    pixels = torch.stack([_square(photo) for photo in photos[:_SETTLING]])
    with torch.no_grad():
        game.train().listener.vision(normalize(pixels))
    return game.eval()


def detector_on(game: PatchGame, options: Options) -> FasterRCNN:
    """Faster R-CNN on the listener's network; the rest of it is a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(options.seed, "detection", "init"))
        backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
        backbone.body.load_state_dict(game.listener.vision.state_dict())
        return FasterRCNN(
            backbone,
            num_classes=1 + len(VOC_CLASSES),
            min_size=options.min_size,
            max_size=round(_LONGEST * options.min_size),
            box_batch_size_per_image=options.proposals,
        )


def learned(detector: FasterRCNN, photos: Sequence[Photo], options: Options) -> FasterRCNN:
    """The detector after the schedule. Raises ValueError where its loss is no longer finite."""
    device = next(detector.parameters()).device
    optimizer = torch.optim.SGD(
        (p for p in detector.parameters() if p.requires_grad),
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share(step, options))
    own = torch.Generator().manual_seed(stream(options.seed, "detection", "order"))
    chosen = _order(len(photos), options, own)
    detector.train()
    # The detector draws anchors and proposals to learn from with torch's own generators.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream(options.seed, "detection", "samples"))
        for step, rows in enumerate(chosen):
            mirrored = torch.rand(len(rows), generator=own) < 0.5
            shown = [
                _shown(photos[i], device, mirror=mirror)
                for i, mirror in zip(rows, mirrored.tolist(), strict=True)
            ]
            pixels, targets = zip(*shown, strict=True)
            loss: Tensor = sum(
                detector(list(pixels), list(targets)).values(), torch.zeros((), device=device)
            )
            if not loss.isfinite():
                raise ValueError(
                    f"detection: the loss is {loss.item()} at step {step}; a lower --set lr= than "
                    f"{options.lr} may help"
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.parameters(), options.clip)
            optimizer.step()
            schedule.step()
    return detector.eval()


def share(step: int, options: Options) -> float:
    """Of the learning rate at `step`, counted from 0."""
    warm = min(1.0, (step + 1) / max(1.0, options.warmup * options.steps))
    passed = sum(step >= part * options.steps for part in (3 / 4, 11 / 12))
    return warm * 0.1**passed


@torch.no_grad()
def detected(detector: FasterRCNN, photos: Sequence[Photo], batch: int) -> Found:
    """All that the detector finds, boxes in pixels of the photos as they are."""
    device = next(detector.parameters()).device
    found: list[dict[str, Tensor]] = []
    for first in range(0, len(photos), batch):
        pixels = [_pixels(photo, device) for photo in photos[first : first + batch]]
        found += [{k: v.cpu() for k, v in one.items()} for one in detector(pixels)]
    counts = [len(one["boxes"]) for one in found]
    return Found(
        np.repeat(np.arange(len(photos)), counts),
        torch.cat([one["labels"] - 1 for one in found]).numpy(),
        torch.cat([one["boxes"] for one in found]).double().numpy(),
        torch.cat([one["scores"] for one in found]).double().numpy(),
    )


def truth_of(photos: Sequence[Photo]) -> Truth:
    """What there is to find in the photos."""
    return Truth(
        np.repeat(np.arange(len(photos)), [len(photo.boxes) for photo in photos]),
        torch.cat([photo.classes for photo in photos]).numpy(),
        torch.cat([photo.boxes for photo in photos]).double().numpy(),
        torch.cat([photo.difficult for photo in photos]).numpy(),
    )


def _order(photos: int, options: Options, own: torch.Generator) -> Iterator[list[int]]:
    """Positions of each step's photos: all in a new order, again and again."""
    wanted = options.steps * options.batch
    epochs = math.ceil(wanted / photos)
    order = torch.cat([torch.randperm(photos, generator=own) for _ in range(epochs)])
    return (part.tolist() for part in order[:wanted].split(options.batch))


def _shown(photo: Photo, device: torch.device, *, mirror: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Pixels and what the detector learns of them; class 0 is the background."""
    pixels, boxes = _pixels(photo, device), photo.boxes.to(device)
    if mirror:
        pixels = pixels.flip(2)
        boxes = torch.stack(
            (
                pixels.shape[2] - boxes[:, 2],
                boxes[:, 1],
                pixels.shape[2] - boxes[:, 0],
                boxes[:, 3],
            ),
            dim=1,
        )
    return pixels, {"boxes": boxes, "labels": 1 + photo.classes.to(device)}


def _pixels(photo: Photo, device: torch.device) -> Tensor:
    """(3, h, w) in [0, 1]; the detector normalises as the plain view does, and scales."""
    pixels: Tensor = decode_image(str(photo.file), ImageReadMode.RGB)
    return pixels.to(device).float() / 255


def _square(photo: Photo) -> Tensor:
    """A photo scaled to a square, whatever its shape."""
    return interpolate(_pixels(photo, torch.device("cpu"))[None], (_SIDE, _SIDE), mode="area")[0]


def _words(options: Options, train: int, test: int) -> str:
    return (
        f"NOT THE PAPER'S SCHEDULE: {options.steps} steps of {options.batch} photos on {train} "
        f"photos, tested on {test}, with a ResNet-18 and a feature pyramid; Table 2 follows MoCo's "
        "protocol, a ResNet-50 C4 for 24k iterations of 16 photos. These numbers compare "
        "listeners with one another under this one schedule.\n"
        "The same boxes give three numbers: voc11 (11 recalls, VOC 2007), vocall (whole area, VOC "
        "2010 and later), coco (101 recalls, overlaps 0.5 to 0.95; coco50 at 0.5). Difficult boxes "
        "are ignored. Classes without a box to find are left out of the mean."
    )
