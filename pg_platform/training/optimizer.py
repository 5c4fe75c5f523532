"""The optimiser of an experiment, and which parameters decay."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from pg_platform.config.experiment import AdamW, Experiment, Sgd


def build_optimizer(method: nn.Module, experiment: Experiment) -> torch.optim.Optimizer:
    """Fused AdamW or SGD; vectors, scalars and embeddings do not decay (game.md, row 15)."""
    chosen = experiment.optimizer
    free = _free_of_decay(method)
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


def _free_of_decay(method: nn.Module) -> set[str]:
    """Names of vectors, scalars and all parameters of modules or names called embeddings."""
    return {
        name
        for name, parameter in method.named_parameters()
        if parameter.ndim < 2 or "embedding" in name
    }
