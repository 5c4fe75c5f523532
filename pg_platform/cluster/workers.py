"""One segment of a trial on several workers: a TorchTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ray import train as ray_train
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util import get_current_placement_group

from pg_platform.cluster.player import Report, experiment_of, play
from pg_platform.cluster.trial import Assignment, request
from pg_platform.config.experiment import Resources
from pg_platform.training.place import Place, hold_to_share


def train_on_workers(
    assignment: Assignment, resources: Resources, storage: Path, deaths: int
) -> None:
    """Run the segment to its end; what its rank 0 reports goes on to Tune."""
    TorchTrainer(
        _work,
        train_loop_config=assignment.config(),
        scaling_config=ray_train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=request(resources),
        ),
        run_config=ray_train.RunConfig(
            name=f"{assignment.trial_id}-{assignment.segment}",
            storage_path=str(storage),
            callbacks=[TuneReportCallback()],
            failure_config=ray_train.FailureConfig(max_failures=deaths, controller_failure_limit=3),
        ),
    ).fit()


def _work(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    assignment = Assignment(**config)
    context = ray_train.get_context()
    resources, device = experiment_of(assignment).resources, get_device()
    torch.set_num_threads(resources.cpus_per_worker)
    hold_to_share(resources, device)
    place = Place(device, context.get_world_rank(), context.get_world_size())
    group = get_current_placement_group()
    report = Report(ray_train.report, None if group is None else group.id.hex())
    play(assignment, place, report)
