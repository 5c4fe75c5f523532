"""Discrete choices with a gradient, and the noise behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pg_platform.config.experiment import SymbolTemperature
from pg_platform.config.seeds import stream

BLOCK = 64
"""Images of a global batch whose noise comes from one generator."""


@dataclass(frozen=True)
class Noise:
    """The random numbers of one training step for some `rows` of its global batch.

    They are functions of seed, step and row, so that any number of workers sees the noise that
    one worker sees, and a part of a batch sees that of the whole.
    """

    seed: int
    step: int
    rows: range
    device: torch.device

    def part(self, rows: slice) -> Noise:
        """The noise of some of these rows."""
        return replace(self, rows=self.rows[rows])

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Draws in [0, 1) called `name`, (rows, *shape)."""
        blocks = range(self.rows.start // BLOCK, -(-self.rows.stop // BLOCK))
        drawn = torch.cat([self._block(name, block, shape) for block in blocks])
        first = self.rows.start - blocks.start * BLOCK
        return drawn[first : first + len(self.rows)]

    def _block(self, name: str, block: int, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator(self.device)
        generator.manual_seed(stream(self.seed, "noise", self.step, name, block))
        return torch.rand((BLOCK, *shape), generator=generator, device=self.device)


def symbol_temperature(schedule: SymbolTemperature, progress: float, epochs: int) -> float:
    """tau_s at `progress`, the share of all steps that is done: `start` to `end`, then constant.

    It moves with each step, or once in each of the `epochs`.
    """
    if schedule.update == "epoch":
        progress = math.floor(progress * epochs + 1e-9) / epochs
    if progress >= schedule.anneal_fraction:
        return schedule.end
    done = progress / schedule.anneal_fraction
    match schedule.schedule:
        case "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        case "linear":
            pass
    return schedule.start + (schedule.end - schedule.start) * done


def gumbel_softmax(logits: Tensor, temperature: float | Tensor, uniform: Tensor | None) -> Tensor:
    """One-hot choices along the last dimension of `logits`, float32 (eq. 5).

    With `uniform` draws of the same shape each choice is a sample of softmax(logits); without
    it is the most probable one. The gradient is that of the softmax at `temperature`.
    """
    scores = F.log_softmax(logits.float(), dim=-1)
    if uniform is not None:
        scores = scores - torch.log(-torch.log(_positive(uniform)))
    soft = F.softmax(scores / temperature, dim=-1)
    # F.one_hot would look at the numbers on the host, and wait for them.
    hard = torch.zeros_like(soft).scatter_(-1, scores.argmax(dim=-1, keepdim=True), 1.0)
    return straight_through(hard, soft)


def bernoulli_gate(
    logits: Tensor, temperature: float, uniform: Tensor | None, *, soft: bool
) -> Tensor:
    """0/1 gates that are 1 with probability sigmoid(logits), float32: two classes of eq. 5 (eq. 8).

    With `uniform` draws of the same shape each gate is a sample; without it is 1 where its
    probability is 1/2 or more. The gradient is that of the sigmoid at `temperature`; `soft` gates
    are that sigmoid, numbers between 0 and 1.
    """
    scores = logits.float()
    if uniform is not None:
        scores = scores + torch.log(_positive(uniform)) - torch.log1p(-uniform)
    relaxed = torch.sigmoid(scores / temperature)
    return relaxed if soft else straight_through((scores >= 0).float(), relaxed)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, to the bit, with the gradient of `soft` (Bengio et al. 2013)."""
    return hard + (soft - soft.detach())


def _positive(uniform: Tensor) -> Tensor:
    """A generator may draw 0, whose logarithm is none."""
    return uniform.clamp(min=torch.finfo(uniform.dtype).tiny)
