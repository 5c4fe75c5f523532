"""Means over the parts of a map, with a gradient that is the same at every call."""

from __future__ import annotations

import torch
from torch import Tensor


def average_pool(maps: Tensor, side: int) -> Tensor:
    """Means (..., side, side) of maps (..., h, w), over the parts of adaptive average pooling.

    Two products of matrices: the gradient of torch's own varies from run to run on a GPU.
    """
    height, width = maps.shape[-2:]
    if height == width == side:
        return maps
    return _shares(height, side, maps) @ maps @ _shares(width, side, maps).mT


def _shares(length: int, parts: int, like: Tensor) -> Tensor:
    """(parts, length): what share of each part each place of a line has."""
    part = torch.arange(parts, device=like.device)[:, None]
    place = torch.arange(length, device=like.device)
    inside = (place >= part * length // parts) & (place < -(-(part + 1) * length // parts))
    return inside.to(like.dtype) / inside.sum(dim=1, keepdim=True)
