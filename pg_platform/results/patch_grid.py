"""Values of the patches of a square grid."""

from __future__ import annotations

import torch
from torch import Tensor


def resampled(ranks: Tensor, side: int) -> Tensor:
    """Ranks (n, g * g) as means over the area of each patch of another grid, (n, side * side)."""
    grid = round(ranks.shape[1] ** 0.5)
    if grid == side:
        return ranks
    edges, own = torch.arange(side + 1) / side, torch.arange(grid + 1) / grid
    low = torch.maximum(edges[:-1, None], own[:-1])
    high = torch.minimum(edges[1:, None], own[1:])
    share = (high - low).clamp(min=0) * side  # (side, grid), rows sum to 1
    averaged: Tensor = share @ ranks.unflatten(1, (grid, grid)) @ share.T
    return averaged.flatten(1)


def from_middle(side: int) -> Tensor:
    """Higher the nearer a patch is to the middle of the grid: its negative distance, (side^2,)."""
    at = torch.arange(side) - (side - 1) / 2
    return -(at[:, None] ** 2 + at**2).sqrt().flatten()
