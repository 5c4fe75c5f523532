"""Which parameters decay, and by how much."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pg_platform.config.experiment import Experiment
from pg_platform.methods import build
from pg_platform.training.optimizer import build_optimizer
from tests.small import SMALL, merged


def decaying(optimizer: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Names of the parameters whose group decays, and of the others."""
    experiment = Experiment.model_validate(merged(SMALL, {"optimizer": optimizer}))
    method = build(experiment)
    groups = build_optimizer(method, experiment).param_groups
    names = {id(p): name for name, p in method.named_parameters()}
    assert sum(len(group["params"]) for group in groups) == len(names)
    first, second = ({names[id(p)] for p in group["params"]} for group in groups)
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    return first, second


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_only_matrices_decay_unless_asked_otherwise(kind: str) -> None:
    decays, stays = decaying({"kind": kind, "weight_decay": 0.3})
    assert {"speaker.symbol.namer.0.weight", "listener.vision.conv1.weight"} <= decays
    assert {"loss.log_scale", "listener.text.symbol_embedding"} <= stays
    assert {"listener.vision.bn1.weight", "speaker.symbol.namer.0.bias"} <= stays


def test_all_but_vectors_decay_the_scale_and_embeddings_too() -> None:
    decays, stays = decaying({"weight_decay": 0.3, "decayed": "all_but_vectors"})
    assert {"loss.log_scale", "listener.text.symbol_embedding"} <= decays
    assert {"listener.vision.bn1.weight", "speaker.symbol.namer.0.bias"} <= stays


def test_a_decay_moves_with_the_step_in_its_group_alone() -> None:
    """AdamW without gradients moves a weight by lr times decay times the weight."""
    experiment = Experiment.model_validate(
        merged(SMALL, {"optimizer": {"weight_decay": 0.5, "lr_batch_size": None}})
    )
    method = build(experiment)
    optimizer = build_optimizer(method, experiment)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    for parameter in method.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    lr = experiment.optimizer.lr
    for name, p in method.named_parameters():
        decays = p.ndim >= 2 and "embedding" not in name
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.5 * lr * decays), msg=name)
