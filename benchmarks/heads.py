"""Heads 65,536 wide: the loss and its gradients in the plain form and from Gram matrices.

    python -m benchmarks.heads [--quick]

Both forms start from bottlenecks (batch, 256) and end with gradients of the symmetric InfoNCE for
bottlenecks and weights; one worker, float32, on the CPU. The table tells from which batch on the
Gram form pays, which is `GRAM_FROM` in pg_platform/game/wide_head.py, and what a step gathers.
"""

from __future__ import annotations

import argparse
from typing import Literal

import torch
from torch import Tensor

from benchmarks.interleaved import medians, verdict
from pg_platform.game.loss import symmetric_infonce
from pg_platform.game.wide_head import WidePair

BOTTLENECK, OUT = 256, 65_536
BATCHES = (8, 32, 64, 96, 128, 192, 256, 384, 512)


def main() -> None:
    """Print the table, the crossing point and, last, plain over Gram seconds at the last batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the last batch only")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{BOTTLENECK} -> {OUT}, float32, {options.threads} threads")
    print(f"{'batch':>5} {'plain s':>8} {'gram s':>8} {'ratio':>6} {'plain MB':>9} {'gram MB':>8}")
    ratios = {batch: _row(batch) for batch in (BATCHES[-1:] if options.quick else BATCHES)}
    faster = [batch for batch, ratio in ratios.items() if ratio >= 1]
    print(f"the Gram form is the faster one at batches {faster}")
    print(f"it gathers {OUT / BOTTLENECK:.0f} times fewer bytes at every batch")
    print(verdict("heads", ratios[BATCHES[-1]], ">= 1"))


def _row(batch: int) -> float:
    seconds = medians({"plain": _Step(batch, "plain"), "gram": _Step(batch, "gram")}, repeats=5)
    plain, gram = seconds["plain"], seconds["gram"]
    megabytes = [2 * batch * width * 4 / 1e6 for width in (OUT, BOTTLENECK)]
    print(
        f"{batch:>5} {plain:>8.3f} {gram:>8.3f} {plain / gram:>6.2f}"
        f" {megabytes[0]:>9.2f} {megabytes[1]:>8.2f}",
        flush=True,
    )
    return plain / gram


class _Step:
    """Bottlenecks of one batch through the heads and the loss, and all gradients."""

    def __init__(self, batch: int, form: Literal["plain", "gram"]) -> None:
        torch.manual_seed(0)
        self.heads = WidePair(BOTTLENECK, OUT, form)
        self.bottlenecks = [torch.randn(batch, BOTTLENECK, requires_grad=True) for _ in "ti"]

    def __call__(self) -> list[Tensor]:
        text, image = self.heads.factors(*self.bottlenecks)
        loss, _ = symmetric_infonce(text, image, torch.tensor(14.0), "whole")
        leaves = [*self.bottlenecks, *self.heads.parameters()]
        return list(torch.autograd.grad(loss, leaves))


if __name__ == "__main__":
    main()
