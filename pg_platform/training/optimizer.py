"""The optimiser of an experiment, and which parameters decay."""

from __future__ import annotations

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
