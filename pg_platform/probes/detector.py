"""Faster R-CNN on a listener's ResNet-18: how it is made, learns, and what it finds.

All weights of the listener's network go into the body of torchvision's Faster R-CNN with a feature
pyramid, and all of it learns, but for the batch normalisations: they stay as the listener has left
them. The schedule has the form of MoCo's protocol (SGD, warm-up, a tenth of the learning rate
after 3/4 and again after 11/12 of the steps; photos mirrored by chance; difficult boxes learned
from). Gradients are cut to a norm of `clip`: without it the untrained network's loss was seen to
become NaN in a dozen steps at the default learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from pg_platform.config.section import Section
from pg_platform.config.seeds import stream
from pg_platform.data.voc import VOC_CLASSES, Photo
from pg_platform.probes.average_precision import Detections, GroundTruth
from pg_platform.progress import tracked

_LONGEST = 1333 / 800
"""The most that a photo's longer side is of `min_size`, as in torchvision and detectron2."""


class Schedule(Section):
    """How a detector learns; photos are scaled to a shorter side of `min_size`.

    The head learns from so many `proposals` of a photo; on small machines most time goes there.
    """

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


def detector_on(vision: nn.Module, schedule: Schedule) -> FasterRCNN:
    """Faster R-CNN on a listener's network; the rest of it is a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(schedule.seed, "detection", "init"))
        backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
        backbone.body.load_state_dict(vision.state_dict())
        return FasterRCNN(
            backbone,
            num_classes=1 + len(VOC_CLASSES),
            min_size=schedule.min_size,
            max_size=round(_LONGEST * schedule.min_size),
            box_batch_size_per_image=schedule.proposals,
        )


def learned(detector: FasterRCNN, photos: Sequence[Photo], schedule: Schedule) -> FasterRCNN:
    """The detector after the schedule. Raises ValueError where its loss is no longer finite."""
    device = next(detector.parameters()).device
    optimizer = torch.optim.SGD(
        (p for p in detector.parameters() if p.requires_grad),
        lr=schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share(step, schedule))
    own = torch.Generator().manual_seed(stream(schedule.seed, "detection", "order"))
    chosen = _order(len(photos), schedule, own)
    detector.train()
    # The detector draws anchors and proposals to learn from with torch's own generators.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream(schedule.seed, "detection", "samples"))
        for step, rows in enumerate(tracked(chosen, "detector", schedule.steps)):
            loss = _loss(detector, [photos[i] for i in rows], own)
            if not loss.isfinite():
                raise ValueError(
                    f"detection: the loss is {loss.item()} at step {step}; a lower --set lr= than "
                    f"{schedule.lr} may help"
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.parameters(), schedule.clip)
            optimizer.step()
            rates.step()
    return detector.eval()


def share(step: int, schedule: Schedule) -> float:
    """Of the learning rate at `step`, counted from 0."""
    warm = min(1.0, (step + 1) / max(1.0, schedule.warmup * schedule.steps))
    passed = sum(step >= part * schedule.steps for part in (3 / 4, 11 / 12))
    return warm * 0.1**passed


@torch.no_grad()
def detected(detector: FasterRCNN, photos: Sequence[Photo], batch: int) -> Detections:
    """All that the detector finds, boxes in pixels of the photos as they are."""
    device = next(detector.parameters()).device
    found: list[dict[str, Tensor]] = []
    for first in tracked(range(0, len(photos), batch), "detections"):
        pixels = [photo.pixels().to(device) for photo in photos[first : first + batch]]
        found += [{k: v.cpu() for k, v in one.items()} for one in detector(pixels)]
    counts = [len(one["boxes"]) for one in found]
    return Detections(
        np.repeat(np.arange(len(photos)), counts),
        torch.cat([one["labels"] - 1 for one in found]).numpy(),
        torch.cat([one["boxes"] for one in found]).double().numpy(),
        torch.cat([one["scores"] for one in found]).double().numpy(),
    )


def truth_of(photos: Sequence[Photo]) -> GroundTruth:
    """What there is to find in the photos."""
    return GroundTruth(
        np.repeat(np.arange(len(photos)), [len(photo.boxes) for photo in photos]),
        torch.cat([photo.classes for photo in photos]).numpy(),
        torch.cat([photo.boxes for photo in photos]).double().numpy(),
        torch.cat([photo.difficult for photo in photos]).numpy(),
    )


def shown(photo: Photo, device: torch.device, *, mirror: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Pixels and what the detector learns of them; class 0 is the background."""
    pixels, boxes = photo.pixels().to(device), photo.boxes.to(device)
    if mirror:
        pixels = pixels.flip(2)
        left, top, right, bottom = boxes.unbind(dim=1)
        wide = pixels.shape[2]
        boxes = torch.stack((wide - right, top, wide - left, bottom), dim=1)
    return pixels, {"boxes": boxes, "labels": 1 + photo.classes.to(device)}


def _order(photos: int, schedule: Schedule, own: torch.Generator) -> Iterator[list[int]]:
    """Positions of each step's photos: all in a new order, again and again."""
    wanted = schedule.steps * schedule.batch
    epochs = math.ceil(wanted / photos)
    order = torch.cat([torch.randperm(photos, generator=own) for _ in range(epochs)])
    return (part.tolist() for part in order[:wanted].split(schedule.batch))


def _loss(detector: FasterRCNN, photos: Sequence[Photo], own: torch.Generator) -> Tensor:
    """The sum of the detector's losses on photos, each mirrored by chance."""
    device = next(detector.parameters()).device
    mirrored = (torch.rand(len(photos), generator=own) < 0.5).tolist()
    pairs = [shown(p, device, mirror=m) for p, m in zip(photos, mirrored, strict=True)]
    pixels, targets = zip(*pairs, strict=True)
    losses: dict[str, Tensor] = detector(list(pixels), list(targets))
    return torch.stack(list(losses.values())).sum()
