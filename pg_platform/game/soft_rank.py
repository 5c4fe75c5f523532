"""Ranks that have a gradient: projections onto the permutahedron (Blondel et al. 2020)."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Implementation = Literal["auto", "minimax", "isotonic", "fast_soft_sort"]

TABLE_BYTES = 32 * 2**20
"""Bytes of one table (rows, K, K) of the minimax form; about six of them live at once."""

ENTRIES_PER_FIT = 4096
"""How many entries one call of scipy's isotonic regression is given, rows end to end."""

ONE_BLOCK = 1e-9
"""Entries whose fits differ by less count as one block, as in the published form."""


def soft_rank(scores: Tensor, strength: float, implementation: Implementation) -> Tensor:
    """Soft ranks 1..K of each row of `scores` (batch, K): the largest score gets K (eq. 7).

    L2 regularisation: the projection of scores / strength onto the convex hull of all
    permutations of (1, ..., K). Small strengths give hard ranks, large ones (K+1)/2 everywhere;
    each row sums to K(K+1)/2. Computed in double, returned in the type of `scores`.

    `minimax` stays on the device and never waits for it, O(K^2) a row; `isotonic` is O(K) a row
    on the CPU; `auto` is minimax on a GPU, where the other would have to wait, else isotonic,
    which was 1.1 times (K = 16, batch 32) to 70 times (400, 512) as fast (benchmarks/soft_rank.py).
    `fast_soft_sort` is the package of the paper's authors, on the CPU; ValueError without it.
    An exported program has the ranks of `minimax` whatever was asked for. MPS has no double: the
    CPU computes its ranks.
    """
    if scores.device.type == "mps":
        return soft_rank(scores.cpu(), strength, implementation).to(scores.device)
    if torch.compiler.is_exporting():  # a program holds torch's own operations only
        implementation = "minimax"
    match implementation:
        case "auto":
            fit = _minimax_fit if scores.is_cuda else _isotonic_fit
        case "minimax":
            fit = _minimax_fit
        case "isotonic":
            fit = _isotonic_fit
        case "fast_soft_sort":
            return _published(scores, strength)
    ranks: Tensor = _SoftRank.apply(scores, strength, fit)  # type: ignore[no-untyped-call]
    return ranks


class _SoftRank(torch.autograd.Function):
    """Sorted descending, ranks = s - v with v the non-increasing fit of s - (K, ..., 1).

    The fit only decides which entries form a block of equal v. A block's mean rank is that of
    its places, and its entries differ from it as their scores do: no digits are lost to large
    scores.
    """

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, strength: float, fit: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ordered, order = scores.double().sort(dim=1, descending=True)
        first, last = _blocks(ordered, strength, fit)
        ctx.save_for_backward(first, last, order)
        ctx.strength = strength
        inside = (ordered - ordered.gather(1, first)) / strength
        mean_rank = scores.shape[1] - (first + last) / 2
        ranks = inside - _block_means(inside, first, last) + mean_rank
        return torch.empty_like(ordered).scatter_(1, order, ranks).to(scores.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        first, last, order = ctx.saved_tensors
        ordered = grad.double().gather(1, order)
        centred = (ordered - _block_means(ordered, first, last)) / ctx.strength
        return torch.empty_like(ordered).scatter_(1, order, centred).to(grad.dtype), None, None


def _blocks(
    ordered: Tensor, strength: float, fit: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """First and last place of the block of each entry, (batch, K) int64 both."""
    patches = ordered.shape[1]
    # Neighbours in a block of n differ by at most n/2 ranks, so wider gaps always separate.
    gaps = ((ordered[:, :-1] - ordered[:, 1:]) / strength).clamp(max=patches / 2 + 1)
    y = F.pad((1 - gaps).cumsum(dim=1), (1, 0))  # scores less hard ranks, up to a constant
    y = y - y.mean(dim=1, keepdim=True)
    v = fit(y)
    # Cumulative sums of y differ from the true ones by some multiples of this.
    rounding = 64 * torch.finfo(y.dtype).eps * y.abs().sum(dim=1, keepdim=True)
    cut = v[:, :-1] - v[:, 1:] > ONE_BLOCK + rounding
    place = torch.arange(patches, device=y.device)
    starts = F.pad(place[1:] * cut, (1, 0))
    ends = F.pad(place[:-1].masked_fill(~cut, patches - 1), (0, 1), value=patches - 1)
    return starts.cummax(dim=1).values, ends.flip(1).cummin(dim=1).values.flip(1)


def _block_means(values: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Mean of the block of each entry, (batch, K); not by scatter_add, whose order varies."""
    sums = F.pad(values.cumsum(dim=1), (1, 0))
    means = (sums.gather(1, last + 1) - sums.gather(1, first)) / (last + 1 - first)
    return torch.where(first == last, values, means)


def _isotonic_fit(y: Tensor) -> Tensor:
    """Least-squares non-increasing fit of each row of (batch, K), by pool-adjacent-violators.

    Many rows are one regression when each begins above the end of the one before it: a call for
    each row takes 15 times as long at K = 49.
    """
    rows = max(1, ENTRIES_PER_FIT // y.shape[1])
    return torch.cat([_joined_fit(part) for part in y.split(rows)])


def _joined_fit(y: Tensor) -> Tensor:
    rising = -y.cpu().nan_to_num()  # a row of NaN must not shift the rows after it
    span = rising.amax(dim=1) - rising.amin(dim=1) + 1
    offset = (span.cumsum(dim=0) - span - rising.amin(dim=1)).unsqueeze(1)
    fitted = isotonic_regression((rising + offset).flatten().numpy()).x
    return -(torch.from_numpy(fitted).view_as(rising) - offset).to(y.device)


def _minimax_fit(y: Tensor) -> Tensor:
    """The same fit on the device of y, some rows at a time to bound the memory of the tables."""
    if torch.compiler.is_exporting():  # a program for any batch cannot count its parts
        return _fit_by_table(y)
    rows = max(1, TABLE_BYTES // (y.element_size() * y.shape[1] ** 2))
    return torch.cat([_fit_by_table(part) for part in y.split(rows)])


def _fit_by_table(y: Tensor) -> Tensor:
    """Minimax formula: v_i = min over j <= i of max over k >= i of mean(y_j, ..., y_k)."""
    last = torch.arange(y.shape[1], device=y.device)
    count = last + 1 - last.unsqueeze(1)  # (first, last): how many entries lie between
    sums = F.pad(y.cumsum(dim=1), (1, 0))
    means = sums[:, 1:].unsqueeze(1) - sums[:, :-1].unsqueeze(2)
    means.div_(count.clamp(min=1)).masked_fill_(count < 1, -math.inf)
    best = means.flip(2).cummax(dim=2).values.flip(2)  # over all that end at i or later
    return best.masked_fill_(count < 1, math.inf).amin(dim=1)


def _published(scores: Tensor, strength: float) -> Tensor:
    """Google's fast-soft-sort, which is on no package registry and takes the rows one by one."""
    if importlib.util.find_spec("fast_soft_sort") is None:
        raise ValueError(
            "soft rank implementation fast_soft_sort: there is no package fast_soft_sort here; "
            "install it from https://github.com/google-research/fast-soft-sort, or use auto, "
            "which gives the same ranks"
        )
    operators = importlib.import_module("fast_soft_sort.pytorch_ops")
    ranks: Tensor = operators.soft_rank(
        scores.double(),
        direction="ASCENDING",
        regularization_strength=strength,
        regularization="l2",
    )
    return ranks.to(scores.dtype)
