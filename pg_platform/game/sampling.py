"""Discrete choices with a gradient, and the noise behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pg_platform.config.experiment import SymbolTemperature
from pg_platform.config.seeds import stream


@dataclass(frozen=True)
class Noise:
    """The random numbers of one training step.

    Every worker draws for all `total` images of the global batch and keeps its own `rows`, so
    that any number of workers sees the noise that one worker sees.
    """

    seed: int
    step: int
    rows: slice
    total: int
    device: torch.device

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Draws in [0, 1) called `name`, (this worker's rows, *shape)."""
        generator = torch.Generator(self.device)
        generator.manual_seed(stream(self.seed, "noise", self.step, name))
        drawn = torch.rand((self.total, *shape), generator=generator, device=self.device)
        return drawn[self.rows]


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


def gumbel_softmax(logits: Tensor, temperature: float, uniform: Tensor | None) -> Tensor:
    """One-hot choices along the last dimension of `logits`, float32 (eq. 5).

    With `uniform` draws of the same shape each choice is a sample of softmax(logits); without
    it is the most probable one. The gradient is that of the softmax at `temperature`.
    """
    scores = F.log_softmax(logits.float(), dim=-1)
    if uniform is not None:
        scores = scores - torch.log(-torch.log(_positive(uniform)))
    soft = F.softmax(scores / temperature, dim=-1)
    hard = F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(soft.dtype)
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
