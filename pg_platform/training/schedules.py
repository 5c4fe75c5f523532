"""How the learning rate and the weight decay move with the step."""

from __future__ import annotations

import math

from pg_platform.config.experiment import AdamW, Sgd


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
