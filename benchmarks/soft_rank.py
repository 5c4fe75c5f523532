"""Soft ranks, forward and backward: ours against the published loop over rows, on the CPU.

    python -m benchmarks.soft_rank [--quick]

The baseline is the published form of fast-soft-sort (Blondel et al. 2020): torch.unbind, one
autograd function per row that works in NumPy, torch.stack. Its inner loop is compiled with numba;
here scipy's isotonic regression of the row, compiled too, stands in for it. Then a table of both
exact forms, from which `auto` takes its choice for the CPU.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from benchmarks.interleaved import medians, verdict
from pg_platform.game.soft_rank import soft_rank

PATCHES = (16, 49, 144, 196, 400)
BATCHES = (32, 128, 512)


def main() -> None:
    """Print the ratio at K = 49, B = 128 last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the largest tables")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print("baseline: per-row loop, scipy's isotonic regression in place of numba's; 1 thread")
    print(f"{'K':>4} {'B':>4} {'minimax ms':>11} {'isotonic ms':>12} {'published ms':>13}")
    for patches in PATCHES:
        for batch in BATCHES:
            if not quick or patches**2 * batch <= 49**2 * 512:
                _row(patches, batch)
    seconds = _seconds(49, 128, ("auto", "published"), repeats=15 if quick else 45)
    print(verdict("soft_rank", seconds["published"] / seconds["auto"], ">= 1"))


def _row(patches: int, batch: int) -> None:
    seconds = _seconds(patches, batch, ("minimax", "isotonic", "published"), repeats=5)
    table, fit, loop = (1e3 * seconds[name] for name in ("minimax", "isotonic", "published"))
    print(f"{patches:>4} {batch:>4} {table:>11.2f} {fit:>12.2f} {loop:>13.2f}")


def _seconds(patches: int, batch: int, names: tuple[str, ...], repeats: int) -> dict[str, float]:
    scores = torch.randn(batch, patches, generator=torch.Generator().manual_seed(0))
    scores = (scores * patches / 12**0.5).requires_grad_()
    ranks: dict[str, Any] = {
        "minimax": partial(soft_rank, strength=1.0, implementation="minimax"),
        "isotonic": partial(soft_rank, strength=1.0, implementation="isotonic"),
        "auto": partial(soft_rank, strength=1.0, implementation="auto"),
        "published": published,
    }
    _assert_equal(scores.detach().double().requires_grad_(), ranks)
    return medians({name: partial(_step, ranks[name], scores) for name in names}, repeats)


def _step(ranks: Any, scores: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(ranks(scores).square().sum(), scores)
    return gradient


def _assert_equal(scores: Tensor, ranks: dict[str, Any]) -> None:
    """What is compared does the same work; in double, as float32 ties differ in the loop."""
    theirs, ours = ranks["published"], ranks["auto"]
    torch.testing.assert_close(theirs(scores), ours(scores), rtol=0, atol=1e-9)
    torch.testing.assert_close(_step(theirs, scores), _step(ours, scores), rtol=0, atol=1e-6)


def published(scores: Tensor) -> Tensor:
    """Ranks of (batch, K), row by row, at strength 1."""
    by_row: Any = _PublishedRow.apply
    return torch.stack([by_row(row) for row in scores.unbind()])


class _PublishedRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor) -> Tensor:
        values = row.detach().cpu().numpy()
        order = np.argsort(values)[::-1]
        ordered = values[order]
        ctx.fit = isotonic_regression(
            ordered - np.arange(len(values), 0, -1), increasing=False
        ).x.astype(values.dtype)
        ctx.order, ctx.back = order, np.empty_like(order)
        ctx.back[order] = np.arange(len(values))
        return torch.from_numpy((ordered - ctx.fit)[ctx.back])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        given = grad.numpy()
        return torch.from_numpy(given - _block_means(ctx.fit, given[ctx.order])[ctx.back])


def _block_means(fit: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The published backward walks through the blocks in Python."""
    means = np.zeros_like(fit)
    starts = [0, *(i for i in range(1, len(fit)) if abs(fit[i] - fit[i - 1]) > 1e-9), len(fit)]
    for start, end in pairwise(starts):
        means[start:end] = values[start:end].sum() / (end - start)
    return means


if __name__ == "__main__":
    main()
