"""One segment of a trial on Ray, as Tune has it. No torch: that is imported where it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune

from pg_platform.cluster.ray_cluster import DRIVER_RESOURCE
from pg_platform.config.experiment import Resources

Trainable = Callable[[dict[str, Any]], None]


class LostError(RuntimeError):
    """A trial was ended by what may pass, as the death of a process; its text is that of `told`."""


class LastingError(RuntimeError):
    """A trial was ended by what would come again; its text is that of `told`."""


@dataclass(frozen=True)
class Assignment:
    """What a trial's process is told; plain values, so that Tune can store it."""

    trial_id: str
    experiment: str
    folder: str
    until: int | None
    segment: int
    """Which segment of the sweep it is: Train takes an equal name for a run to go on with."""

    def config(self) -> dict[str, Any]:
        """The form in which Tune carries it."""
        return asdict(self)


def in_process(resources: Resources) -> Trainable:
    """A trainable with one worker, which trains in the trial's own process.

    It costs about 0.2 s beyond its steps once the process is warm; a nested worker group costs
    about 40 CPU-seconds.
    """
    trainable: Trainable = tune.with_resources(_train_here, request(resources))
    return trainable


def on_workers(resources: Resources, storage: Path) -> Trainable:
    """A trainable whose trial is a TorchTrainer with `resources.workers` workers."""

    def trial(config: dict[str, Any]) -> None:
        from pg_platform.cluster.workers import train_on_workers

        train_on_workers(Assignment(**config), resources, storage)

    trainable: Trainable = tune.with_resources(trial, {DRIVER_RESOURCE: 1})
    return trainable


def request(resources: Resources) -> dict[str, float]:
    """What one worker asks Ray for; memory in bytes."""
    wanted = {
        "CPU": resources.cpus_per_worker,
        "GPU": resources.gpus_per_worker,
        "memory": int(resources.gib_per_worker * 2**30),
    }
    return {name: float(amount) for name, amount in wanted.items() if amount}


def _train_here(config: dict[str, Any]) -> None:
    from pg_platform.cluster.player import play_alone

    play_alone(Assignment(**config))
