"""The optimiser of an experiment, and which parameters decay."""

from __future__ import annotations

import math
from typing import Literal, assert_never

import torch
from torch import nn

from pg_platform.config.experiment import AdamW, Experiment, Sgd


def build_optimizer(method: nn.Module, experiment: Experiment) -> torch.optim.Optimizer:
    """Fused AdamW or SGD; the first of its two groups decays, the second does not."""
    chosen = experiment.optimizer
    free = _free_of_decay(method, chosen.decayed)
    groups = [
        {
            "params": [p for name, p in method.named_parameters() if name not in free],
            "weight_decay": chosen.weight_decay,
        },
        {
            "params": [p for name, p in method.named_parameters() if name in free],
            "weight_decay": 0.0,
        },
    ]
    match chosen:
        case AdamW():
            return torch.optim.AdamW(groups, lr=chosen.lr, fused=True)
        case Sgd():
            return torch.optim.SGD(groups, lr=chosen.lr, momentum=chosen.momentum, fused=True)
        case _:
            assert_never(chosen)


def _free_of_decay(method: nn.Module, decayed: Literal["matrices", "all_but_vectors"]) -> set[str]:
    """Names of the parameters that do not decay."""
    parameters = method.named_parameters()
    match decayed:
        case "matrices":
            return {name for name, p in parameters if p.ndim < 2 or "embedding" in name}
        case "all_but_vectors":
            return {name for name, p in parameters if p.ndim == 1}


def learning_rate(optimizer: AdamW | Sgd, batch_size: int, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to `min_lr` (App. A).

    `step` counts from 0 to `steps` - 1. The peak is `lr`, scaled by batch size over
    `lr_batch_size` where that is given (Goyal et al. 2017, as App. B does).
    """
    peak = optimizer.lr
    if optimizer.lr_batch_size is not None:
        peak *= batch_size / optimizer.lr_batch_size
    warmup = round(optimizer.warmup_fraction * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return _cosine(peak, optimizer.min_lr, done)


def weight_decay(optimizer: AdamW | Sgd, step: int, steps: int) -> float:
    """`weight_decay`, or a cosine from there to `weight_decay_end` over all steps."""
    if optimizer.weight_decay_end is None:
        return optimizer.weight_decay
    return _cosine(optimizer.weight_decay, optimizer.weight_decay_end, step / steps)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
