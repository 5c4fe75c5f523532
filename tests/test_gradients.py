"""A step's gradient does not depend on how its batch is cut; nothing waits for the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.utils._python_dispatch import TorchDispatchMode

from pg_platform.config.experiment import Experiment
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training.checkpoint import Progress
from pg_platform.training.gradients import Gradients
from pg_platform.training.learner import Learner
from pg_platform.training.worker import Worker, local_worker
from tests.methods import METHODS
from tests.small import SMALL, merged, without_nulls

BATCH, GROUP = 32, 4
CPU = torch.device("cpu")
EXACT = [name for name in METHODS if name not in {"mobilenet rank", "resnet50 vision"}]
"""Methods whose gradients rounding moves by no more than a millionth."""


def experiment(method: str, **resources: int) -> Experiment:
    """A small one whose images are normalised in groups."""
    changes = {
        "batch_size": BATCH,
        "batch_norm_images": GROUP,
        "resources": resources,
        "contrast": {"temperature": 1.0},
    }
    return Experiment.model_validate(without_nulls(merged(merged(SMALL, METHODS[method]), changes)))


def round_of(played: Experiment, place: Worker) -> dict[str, Any]:
    """Loss, metrics, gradients and running statistics of this worker's share of a step."""
    generator = torch.Generator().manual_seed(0)
    shift = torch.linspace(-1, 1, BATCH).view(-1, 1, 1, 1)
    views = torch.randn(2, BATCH, 3, 16, 16, generator=generator) + shift
    share = BATCH // place.world
    rows = range(place.rank * share, (place.rank + 1) * share)
    method = build(played).train()
    part = (views[0, rows.start : rows.stop], views[1, rows.start : rows.stop])
    noise = Noise(0, 5, rows, CPU)
    loss, metrics = Gradients(method, played, place).of(part, 0.3, noise)
    return {
        "loss": loss,
        "metrics": metrics,
        "gradients": {n: p.grad for n, p in method.named_parameters() if p.grad is not None},
        "buffers": dict(method.named_buffers()),
    }


def assert_same_step(one: dict[str, Any], other: dict[str, Any]) -> None:
    torch.testing.assert_close(one["loss"], other["loss"], rtol=1e-6, atol=1e-6)
    assert one["gradients"].keys() == other["gradients"].keys()
    mine, theirs = (
        torch.cat([step["gradients"][name].flatten() for name in one["gradients"]])
        for step in (one, other)
    )
    assert theirs.norm() > 0.1
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("size", [GROUP, 16])
def test_micro_batches_give_the_gradient_of_the_whole_batch(method: str, size: int) -> None:
    whole = round_of(experiment(method), Worker(CPU))
    parts = round_of(experiment(method, micro_batch=size), Worker(CPU))
    assert_same_step(parts, whole)
    for name, value in whole["metrics"].items():
        torch.testing.assert_close(parts["metrics"][name], value, msg=name)
    for name, value in whole["buffers"].items():
        torch.testing.assert_close(parts["buffers"][name], value, rtol=1e-6, atol=1e-6, msg=name)


def test_micro_batches_bound_what_is_kept_for_the_backward_pass() -> None:
    """The graph of an eighth of the batch and not of all of it."""
    kept: dict[int, int] = {}

    def peak(size: int | None) -> int:
        kept.clear()
        most = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal most
            kept[id(tensor)] = tensor.numel()
            most = max(most, sum(kept.values()))
            return tensor

        def unpack(tensor: Tensor) -> Tensor:
            kept.pop(id(tensor), None)
            return tensor

        resources = {} if size is None else {"micro_batch": size}
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            round_of(experiment("patch_game", **resources), Worker(CPU))
        return most

    assert peak(GROUP) < peak(None) / 3


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    found = {
        size: round_of(experiment("patch_game", workers=2, **resources), Worker(CPU, rank, 2))
        for size, resources in (("whole", {}), ("parts", {"micro_batch": 8}))
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_with_micro_batches_give_the_gradient_of_one_without(tmp_path: Path) -> None:
    spawn(_work, args=(str(tmp_path),), nprocs=2)
    alone = round_of(experiment("patch_game"), Worker(CPU))
    workers = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for size in ("whole", "parts"):
        losses = [worker[size].pop("loss") for worker in workers]
        for worker in workers:
            assert_same_step({**worker[size], "loss": sum(losses) / 2}, alone)
        for name, value in alone["buffers"].items():
            mean = sum(worker[size]["buffers"][name].double() for worker in workers) / 2
            torch.testing.assert_close(mean, value.double(), rtol=1e-5, atol=1e-6, msg=name)


class NoWaiting(TorchDispatchMode):
    """Fails where a number is asked of the device."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition("::")[2].partition(".")[0]
        assert name not in self.WAITING, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", [{}, {"optimizer": {"clip_norm": 1.0}}], ids=["plain", "clip"])
def test_a_step_after_the_first_never_waits_for_the_device(changes: dict[str, Any]) -> None:
    """Views are cut before; soft ranks in the form that a GPU computes."""
    on_device = {"speaker": {"soft_rank": {"implementation": "minimax"}}}
    played = Experiment.model_validate(merged(merged(SMALL, on_device), changes))
    learner, progress = Learner(played, local_worker(played.resources)), Progress()
    batches = list(learner.batches(progress))
    learner.step(batches[0], progress)  # it looks once whether messages are discrete
    with NoWaiting():
        for batch in batches[1:]:
            learner.step(batch, progress)
    with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
        learner.finish_epoch(progress)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_nothing_is_learned_from_the_first_step_that_is_not_finite_on(kind: str) -> None:
    """The first step throws the weights far away, the second meets what they compute."""
    wild = {"optimizer": {"kind": kind, "lr": 1e30, "warmup_fraction": 0.0}}
    played = Experiment.model_validate(merged(SMALL, wild))
    learner, progress = Learner(played, local_worker(played.resources)), Progress()
    batches = learner.batches(progress)
    learner.step(next(batches), progress)
    far = [parameter.detach().clone() for parameter in learner.method.parameters()]
    for batch in batches:
        learner.step(batch, progress)
    assert learner.guard.bad_step() == 1
    assert all(map(torch.equal, learner.method.parameters(), far))
    assert all(bool(parameter.isfinite().all()) for parameter in far)
