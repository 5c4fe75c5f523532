"""One trial on Ray: the same training loop, in the trial's own process or on several workers."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ray import train as ray_train
from ray import tune
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback

from pg_platform.cluster.ray_cluster import DRIVER_RESOURCE
from pg_platform.cluster.stop_flag import StopPoll
from pg_platform.config.experiment import Experiment, Resources
from pg_platform.training.loop import train
from pg_platform.training.place import Place, local_place, place_facts
from pg_platform.training.rows import TRIAL_ERRORS, Row

Trainable = Callable[[dict[str, Any]], None]

WORKER_DEATHS_AT_MOST = 3
"""How often a trial whose process died is taken up again from its checkpoint."""


@dataclass(frozen=True)
class Assignment:
    """What a trial's process is told; plain text, so that Tune can store it."""

    trial_id: str
    experiment: str
    folder: str

    def config(self) -> dict[str, Any]:
        """The form in which Tune carries it."""
        return asdict(self)


def in_process(resources: Resources) -> Trainable:
    """A trainable with one worker, which trains in the trial's own process.

    It costs about 0.2 s beyond its steps once the process is warm; a nested worker group costs
    about 40 CPU-seconds.
    """

    def trial(config: dict[str, Any]) -> None:
        assignment = Assignment(**config)
        report = _RowReport(tune.report)
        try:
            place = local_place(resources)
            _play(assignment, place, report)
        except TRIAL_ERRORS:
            # The same numbers would fail again: said once here, not tried again by Tune.
            report.end("failed", error=traceback.format_exc())

    trainable: Trainable = tune.with_resources(trial, _request(resources))
    return trainable


def on_workers(resources: Resources, storage: Path) -> Trainable:
    """A trainable whose trial is a TorchTrainer with `resources.workers` workers."""

    def trial(config: dict[str, Any]) -> None:
        TorchTrainer(
            _work,
            train_loop_config=config,
            scaling_config=ray_train.ScalingConfig(
                num_workers=resources.workers,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker=_request(resources),
            ),
            run_config=ray_train.RunConfig(
                name=config["trial_id"],
                storage_path=str(storage),
                callbacks=[TuneReportCallback()],
                failure_config=ray_train.FailureConfig(
                    max_failures=WORKER_DEATHS_AT_MOST, controller_failure_limit=3
                ),
            ),
        ).fit()

    trainable: Trainable = tune.with_resources(trial, {DRIVER_RESOURCE: 1})
    return trainable


def _request(resources: Resources) -> dict[str, float]:
    """What one worker asks Ray for."""
    request = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    return {name: float(amount) for name, amount in request.items() if amount}


def _work(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    assignment = Assignment(**config)
    context = ray_train.get_context()
    threads = Experiment.model_validate_json(assignment.experiment).resources.cpus_per_worker
    torch.set_num_threads(threads)
    place = Place(get_device(), context.get_world_rank(), context.get_world_size())
    _play(assignment, place, _RowReport(ray_train.report))


def _play(assignment: Assignment, place: Place, report: _RowReport) -> None:
    experiment = Experiment.model_validate_json(assignment.experiment)
    report.facts(place_facts(experiment, place.device))
    outcome = train(
        experiment,
        Path(assignment.folder),
        place=place,
        report=report,
        should_stop=StopPoll(),
    )
    report.end(outcome.value)


class _RowReport:
    """Rows on their way to the driver, through Tune's or Train's own report."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self.send = send

    def __call__(self, rows: Sequence[Row]) -> None:
        self.send({"rows": [asdict(row) for row in rows]})

    def facts(self, facts: dict[str, str]) -> None:
        """What is known only where the trial runs."""
        self.send({"rows": [], "facts": facts})

    def end(self, outcome: str, error: str | None = None) -> None:
        """The last word of a trial: completed, interrupted or failed."""
        self.send({"rows": [], "outcome": outcome, "error": error})
