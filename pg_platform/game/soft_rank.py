"""Ranks that have a gradient: projections onto the permutahedron (Blondel et al. 2020)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def soft_rank(scores: Tensor, strength: float) -> Tensor:
    """Soft ranks 1..K of each row of `scores` (batch, K): the largest score gets K (eq. 7).

    L2 regularisation: the projection of scores / strength onto the convex hull of all
    permutations of (1, ..., K). Small strengths give hard ranks, large ones (K+1)/2 everywhere;
    each row sums to K(K+1)/2. Exact, on the device, O(K^2) memory per row.
    """
    ranks: Tensor = _SoftRank.apply(scores, strength)  # type: ignore[no-untyped-call]
    return ranks


class _SoftRank(torch.autograd.Function):
    """Sorted descending, ranks = s - v with v the isotonic regression of s - (K, ..., 1).

    In double throughout: ranks are differences of cumulative sums, and two entries belong to one
    block where their v are equal to the bit.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, strength: float) -> Tensor:
        ordered, order = (scores.double() / strength).sort(dim=1, descending=True)
        patches = scores.shape[1]
        hard = torch.arange(patches, 0, -1, dtype=torch.double, device=scores.device)
        fit = _non_increasing_fit(ordered - hard)
        ctx.save_for_backward(fit, order)
        ctx.strength = strength
        return torch.empty_like(ordered).scatter_(1, order, ordered - fit).to(scores.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        fit, order = ctx.saved_tensors
        ordered = grad.double().gather(1, order)
        # A comparison of all pairs, not scatter_add: its sums have one order on a GPU too.
        same = (fit.unsqueeze(2) == fit.unsqueeze(1)).double()  # (batch, K, K)
        mean = (same @ ordered.unsqueeze(2)).squeeze(2) / same.sum(dim=2)
        scattered = torch.empty_like(ordered).scatter_(1, order, ordered - mean)
        return (scattered / ctx.strength).to(grad.dtype), None


def _non_increasing_fit(y: Tensor) -> Tensor:
    """Least-squares non-increasing fit of each row of (batch, K).

    Minimax formula: v_i = min over j <= i of max over k >= i of mean(y_j, ..., y_k).
    """
    last = torch.arange(y.shape[1], device=y.device)
    count = last + 1 - last.unsqueeze(1)  # (first, last): how many entries lie between
    sums = torch.nn.functional.pad(y.cumsum(dim=1), (1, 0))
    means = (sums[:, 1:].unsqueeze(1) - sums[:, :-1].unsqueeze(2)) / count.clamp(min=1)
    means.masked_fill_(count < 1, -math.inf)
    best = means.flip(2).cummax(dim=2).values.flip(2)  # over all that end at i or later
    return best.masked_fill_(count < 1, math.inf).amin(dim=1)
