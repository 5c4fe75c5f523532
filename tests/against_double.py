"""Gradients of a training step in float32 against the same step in double, one process a case.

    python -m tests.against_double < experiments.jsonl

Each line of the input is an experiment and each line of the output what became of it: its largest
error, or the signal of which its process died.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pg_platform.config.experiment import Experiment
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training.checkpoint import Progress
from pg_platform.training.gradients import Gradients
from pg_platform.training.learner import Learner
from pg_platform.training.worker import local_worker

NOTHING = 1e-7
"""Of the whole gradient's norm: what is smaller is 0 in exact arithmetic, as that of the bias of
an attention's keys, and its relative error says nothing."""


@dataclass(frozen=True)
class Compared:
    """The worst parameter with the norm of its error over that of its gradient.

    `loss` is the relative error of the loss, `decided` the share of decisions on which float32 and
    double would differ: a ReLU opens, or a pooling takes another pixel.
    """

    parameter: str
    error: float
    loss: float
    decided: float


class Decisions(TorchDispatchMode):
    """Keeps the decisions of one step; `replay` lets another step take them over.

    A value that is 0 up to rounding opens a ReLU in float32 and closes it in double. One such in
    a million changes gradients by 1e-3 to 1e-2, and says nothing of their digits.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = []
        self.replayed: Iterator[Tensor] | None = None
        self.differing = self.total = 0

    def replay(self) -> None:
        """From here on what was kept is done again."""
        self.replayed = iter(self.kept)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if self.replayed is not None and given.get("dtype") is torch.float32:
            given["dtype"] = torch.float64  # what is kept in float32 under autocast
        result = func(*args, **given)
        match func.name():
            case "aten::relu":
                opened = self._decided(args[0] > 0)
                return torch.where(opened, args[0].clamp_min(1e-30), 0.0)
            case "aten::max_pool2d_with_indices":
                taken = self._decided(result[1])
                values = args[0].flatten(2).gather(2, taken.flatten(2)).view(taken.shape)
                return values, taken
            case "aten::argmax":
                return self._decided(result)
        return result

    def _decided(self, here: Tensor) -> Tensor:
        if self.replayed is None:
            self.kept.append(here.contiguous())
            return here
        before = next(self.replayed)
        self.differing += int((before != here).sum())
        self.total += here.numel()
        return before


def compared(experiment: Experiment) -> Compared:
    """The first step of a run, as training takes it, against the same in double."""
    place = local_worker(experiment.resources)
    learner, decisions = Learner(experiment, place), Decisions()
    batch = next(learner.loader.epoch(0))
    with decisions:
        learner.step(batch, Progress())
    found = {n: p.grad for n, p in learner.method.named_parameters() if p.grad is not None}
    exact = build(experiment).double().train()
    noise = Noise(experiment.seed, 0, range(experiment.batch_size), place.device)
    views = (batch.speaker.double().contiguous(), batch.listener.double().contiguous())
    decisions.replay()
    with decisions:
        loss, _ = Gradients(exact, experiment, place).of(views, 0.0, noise)
    for parameter in exact.resting(0):
        parameter.grad = None
    wanted = {n: p.grad for n, p in exact.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    whole = torch.stack([grad.norm() for grad in wanted.values()]).norm()
    errors = {
        name: ((found[name] - grad).norm() / (grad.norm() + NOTHING / 1e-4 * whole)).item()
        for name, grad in wanted.items()
    }
    worst = max(errors, key=errors.__getitem__)
    off = abs(learner.sums["loss"].item() / loss.item() - 1)
    return Compared(worst, errors[worst], off, decisions.differing / max(1, decisions.total))


def alone(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives in a process of its own, or the signal of which that died."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            json.dump(work(), out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        return {"died": signal.Signals(-code).name}
    return json.loads(text) if text else {"died": f"with exit code {code}"}


def _found(experiment: Experiment) -> dict[str, Any]:
    return asdict(compared(experiment))


def main(lines: Sequence[str]) -> None:
    """Compare each experiment; none has a thread before it has its process."""
    for line in lines:
        experiment = Experiment.model_validate_json(line)
        became = alone(partial(_found, experiment))
        sys.stdout.write(json.dumps(became) + "\n")


if __name__ == "__main__":
    main(sys.stdin.read().splitlines())
