"""Two gloo workers against one process: the same loss, gradients and statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from pg_platform.config.experiment import Experiment
from pg_platform.game.collectives import gather
from pg_platform.game.loss import Gather, symmetric_infonce
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from tests.methods import METHODS
from tests.small import SMALL, merged, without_nulls

WORKERS = 2
BATCH = 16
SETTINGS = {
    "batch_size": BATCH,
    "data": {"image_size": 32},
    "speaker": {"symbols_per_patch": 2},
    # Gradients grow with the scale; here their norm is about 1.
    "listener": {"text": {"depth": 2}},
    "contrast": {"temperature": 1.0},
}
EXPERIMENTS = {
    name: Experiment.model_validate(without_nulls(merged(merged(SMALL, SETTINGS), changes)))
    for name, changes in METHODS.items()
}


ROUNDING = 1e-5
ROUGH = {"mobilenet rank": 1e-4, "resnet50 vision": 0.1}
"""Deep stacks of batch normalisation amplify rounding: an input that differs by one part in 1e7
moves these gradients by 2e-5 and 3e-3 of their norm, in one process."""


def _views(rows: slice) -> tuple[Tensor, Tensor]:
    """Images whose mean and spread differ from row to row, so that workers' batches do."""
    generator = torch.Generator().manual_seed(0)
    speaker, listener = torch.randn(2, BATCH, 3, 32, 32, generator=generator)
    shift = torch.linspace(-1, 1, BATCH).view(-1, 1, 1, 1)
    return (speaker + shift)[rows], (listener + shift)[rows]


def _rounds(rank: int, world: int) -> dict[str, Any]:
    """A round of every method."""
    return {name: _round(each, rank, world) for name, each in EXPERIMENTS.items()}


def _round(experiment: Experiment, rank: int, world: int) -> dict[str, Any]:
    """Loss, metrics, gradients and running statistics of one worker's share of one step."""
    rows = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    method = build(experiment).train()
    playing = DistributedDataParallel(method) if world > 1 else method
    noise = Noise(experiment.seed, 7, range(BATCH)[rows], torch.device("cpu"))
    loss, metrics = playing(_views(rows), progress=0.1, noise=noise)
    torch.autograd.backward(loss)
    return {
        "loss": loss.detach(),
        "top1": metrics["top1_batch"],
        "gradients": {name: p.grad for name, p in method.named_parameters()},
        "buffers": dict(method.named_buffers()),
    }


def _gathered(rank: int) -> dict[str, Tensor]:
    """What `gather` gives, and the gradient of a loss that differs from worker to worker."""
    local = torch.arange(4.0).view(2, 2) + 10 * rank
    local.requires_grad_()
    everyone = gather(local)
    loss = ((rank + 1) * torch.arange(8.0).view(4, 2) * everyone).sum()
    (gradient,) = torch.autograd.grad(loss, local)
    return {"everyone": everyone.detach(), "gradient": gradient}


def _contrast(rows: slice, gather: Gather, dtype: torch.dtype = torch.double) -> Tensor:
    """Loss of these rows, and its gradient for two linear layers and the scale, end to end."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, BATCH, 12, generator=generator).to(dtype)[:, rows]
    layers = torch.randn(2, 12, 6, generator=generator).to(dtype).requires_grad_()
    scale = torch.tensor(14.0, dtype=dtype, requires_grad=True)
    text, image = normalize(inputs @ layers, dim=2)
    loss, _ = symmetric_infonce(text, image, scale, gather)
    gradients = torch.autograd.grad(loss, [layers, scale])
    return torch.cat([loss.detach().view(1), *(g.flatten() for g in gradients)])


def _contrasts(rank: int, world: int) -> dict[str, Tensor]:
    rows = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    return {
        "whole": _contrast(rows, "whole"),
        "detached": _contrast(rows, "detached"),
        "float32": _contrast(rows, "whole", torch.float32),
    }


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
    seen = {
        "rounds": _rounds(rank, WORKERS),
        "gather": _gathered(rank),
        "contrasts": _contrasts(rank, WORKERS),
    }
    torch.save(seen, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two real processes saw."""
    folder = tmp_path_factory.mktemp("workers")
    spawn(_work, args=(str(folder),), nprocs=WORKERS)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(WORKERS)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """The same steps in one process with the whole batch."""
    return _rounds(rank=0, world=1)


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_loss_of_the_workers_is_the_loss_of_one(
    workers: list[dict[str, Any]], alone: dict[str, Any], method: str
) -> None:
    for key in ("loss", "top1"):
        mean = sum(worker["rounds"][method][key] for worker in workers) / WORKERS
        torch.testing.assert_close(mean, alone[method][key], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_equal_those_of_one_process(
    workers: list[dict[str, Any]], alone: dict[str, Any], method: str
) -> None:
    wanted = alone[method]["gradients"]
    whole = torch.cat([grad.flatten() for grad in wanted.values()])
    assert 0.1 < whole.norm() < 5  # else the bound below would say little, or ask too much
    for worker in workers:
        found = worker["rounds"][method]["gradients"]
        if method not in ROUGH:
            for name, grad in found.items():
                torch.testing.assert_close(grad, wanted[name], rtol=1e-6, atol=1e-6, msg=name)
        flat = torch.cat([found[name].flatten() for name in wanted])
        bound = ROUGH.get(method, ROUNDING)
        assert (flat - whole).norm() < bound * whole.norm()


@pytest.mark.parametrize("method", METHODS)
def test_running_statistics_equal_those_of_one_process(
    workers: list[dict[str, Any]], alone: dict[str, Any], method: str
) -> None:
    for worker in workers:
        for name, wanted in alone[method]["buffers"].items():
            found = worker["rounds"][method]["buffers"][name]
            torch.testing.assert_close(found, wanted, msg=name)


def test_gather_keeps_the_order_of_ranks_and_sums_what_all_losses_want(
    workers: list[dict[str, Any]],
) -> None:
    mine = torch.arange(4.0).view(2, 2)
    for rank, worker in enumerate(workers):
        assert torch.equal(worker["gather"]["everyone"], torch.cat((mine, mine + 10)))
        wanted = (1 + 2) * torch.arange(8.0).view(4, 2)[2 * rank : 2 * rank + 2]
        assert torch.equal(worker["gather"]["gradient"], wanted)


def test_without_a_process_group_gather_is_the_identity() -> None:
    local = torch.ones(2, 3)
    assert gather(local) is local


def test_the_contrast_of_workers_is_exactly_that_of_one_process(
    workers: list[dict[str, Any]],
) -> None:
    """Loss, gradient of both layers and of the scale, with and without the authors' gather."""
    averaged = {
        name: torch.stack([worker["contrasts"][name] for worker in workers]).mean(dim=0)
        for name in ("whole", "detached", "float32")
    }
    whole = _contrast(slice(0, BATCH), "whole")
    torch.testing.assert_close(averaged["whole"], whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(averaged["float32"].double(), whole, rtol=1e-5, atol=1e-5)
    alone = _contrast(slice(0, BATCH), "detached")
    torch.testing.assert_close(averaged["detached"], alone, rtol=1e-12, atol=1e-12)
    share = averaged["detached"][1:-1].norm() / whole[1:-1].norm()
    assert 0.4 < share < 0.6  # the authors' code: 0.50
