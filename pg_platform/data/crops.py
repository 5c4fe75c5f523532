"""Where a view is cut from an image, and the cut itself, enlarged or reduced to a square."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from pg_platform.config.experiment import Crop
from pg_platform.data.upload import upload

TRIES = 10
CROP_DRAWS = 2 * TRIES + 2
"""Uniform numbers that a random box takes: area and ratio of each try, top, left."""

PLAIN_CROP = 224 / 256
"""The plain view of a photo is this share of its shorter side, as usual on ImageNet."""


class Cuts(NamedTuple):
    """Which images of a split to cut, and the random numbers of each view of them."""

    positions: Tensor  # (n,) int64
    uniform: Tensor  # (views, n, CROP_DRAWS) in [0, 1)


def random_boxes(uniform: Tensor, crop: Crop, height: Tensor, width: Tensor) -> Tensor:
    """Boxes (n, 4) int64 as top, left, height, width, by the law of RandomResizedCrop.

    From `uniform` (n, CROP_DRAWS) in [0, 1) and the sizes (n,) of the images: the first of ten
    tries that fits, of area uniform in `crop.scale` and log-uniform ratio; else the middle of the
    image, cut to the nearest ratio that is allowed.
    """
    uniform = uniform.double()
    size = torch.stack([height, width], dim=1).double()  # (n, 2)
    area = size.prod(1, keepdim=True) * _between(uniform[:, :TRIES], *crop.scale)
    root = _between(uniform[:, TRIES:-2], *map(math.log, crop.ratio)).exp().sqrt()
    tried = (torch.stack([1 / root, root], dim=2) * area.sqrt()[..., None]).round()  # (n, tries, 2)
    fits = ((tried > 0) & (tried <= size[:, None])).all(dim=2)
    first = fits.byte().argmax(dim=1)  # 0 where none fits
    box = tried[torch.arange(len(tried)), first]
    corner = (uniform[:, -2:] * (size - box + 1)).floor()

    middle = _middle(size, crop)
    some = fits.any(dim=1, keepdim=True)
    box = torch.where(some, box, middle)
    corner = torch.where(some, corner, ((size - middle) / 2).floor())
    return torch.cat([corner, box], dim=1).long()


def cut(image: Tensor, box: Tensor, size: int) -> Tensor:
    """The part of (3, h, w) uint8 in `box` (4,), as (3, size, size) uint8: bicubic, antialiased."""
    top, left, height, width = box.tolist()
    cropped = image[:, top : top + height, left : left + width]
    resized: Tensor = F.resize(cropped, [size, size], InterpolationMode.BICUBIC, antialias=True)
    return resized


def cut_plain(image: Tensor, size: int) -> Tensor:
    """The plain view of a photo (3, h, w) uint8: its middle, as (3, size, size) uint8."""
    shorter = round(size / PLAIN_CROP)
    resized = F.resize(image, [shorter], InterpolationMode.BICUBIC, antialias=True)
    middle: Tensor = F.center_crop(resized, [size, size])
    return middle


def cut_batch(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    """`cut` for images of one size at once: (n, 3, h, w) uint8 to (n, 3, size, size) in [0, 1].

    Each row of the result is a weighted sum of rows of the image, and each column of columns:
    two products of matrices, on the device of `pixels`.
    """
    count, channels, height, width = pixels.shape
    boxes = upload(boxes, pixels.device)
    rows = _weights(boxes[:, 0], boxes[:, 2], height, size)  # (n, size, height)
    columns = _weights(boxes[:, 1], boxes[:, 3], width, size)
    wide = pixels.float().view(count, channels * height, width) @ columns.mT
    square = rows[:, None] @ wide.view(count, channels, height, size)
    return (square / 255).clamp(0, 1)


def _weights(start: Tensor, length: Tensor, whole: int, size: int) -> Tensor:
    """(n, size, whole) weights of pixels `start` to `start + length` in each of `size` results.

    Keys' cubic with a = -0.5, stretched over the pixels that a result covers where it reduces.
    """
    scale = (length / size)[:, None, None]
    middle = (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    pixel = torch.arange(whole, device=start.device) - start[:, None, None]
    distance = ((pixel + 0.5 - middle) / scale.clamp(min=1)).abs()  # (n, size, whole)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    inside = (pixel >= 0) & (pixel < length[:, None, None])
    weights = (near * (distance < 1) + far * ((distance >= 1) & (distance < 2))) * inside
    return weights / weights.sum(dim=2, keepdim=True)


def _middle(size: Tensor, crop: Crop) -> Tensor:
    """Height and width (n, 2) of the largest box within the ratios, or the whole image."""
    height, width = size.unbind(1)
    low, high = crop.ratio
    box_height = torch.minimum(height, (width / low).round())
    box_width = torch.minimum(width, (height * high).round())
    return torch.stack([box_height, box_width], dim=1).clamp(min=1)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform
