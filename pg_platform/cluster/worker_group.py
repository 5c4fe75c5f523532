"""One segment of a trial on several workers: a TorchTrainer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray import train as ray_train
from ray.exceptions import RayTaskError
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util import get_current_placement_group

from pg_platform.cluster.assignment import Assignment, LastingError, LostError, request
from pg_platform.cluster.stop_flag import StopPoll
from pg_platform.cluster.worker_process import Report, experiment_of, play
from pg_platform.config.experiment import Resources
from pg_platform.training.failures import lasting, told
from pg_platform.training.history import shortage
from pg_platform.training.worker import Place, hold_to_share

_TAKEN_SECONDS, _LOOK_SECONDS = 60.0, 0.5

_NO_PLACE = "WorkerGroupStartupTimeoutError"
"""Ray Train's name, which it does not export, for a group that other trials leave no place for."""


def train_on_workers(assignment: Assignment, resources: Resources, storage: Path) -> None:
    """Run the segment to its end; what its rank 0 reports goes on to Tune.

    An error that would come again is reported. Raises LostError for one that may pass; Tune counts
    those, and Train does not.
    """
    to_tune, should_stop = TuneReportCallback(), StopPoll(assignment.trial_id)
    # by the way that rank 0 takes: Tune hangs where a trial reports by two at a time
    report = Report(lambda told: to_tune.after_report(None, [told], None))
    try:
        while not _fit(assignment, resources, storage, to_tune):
            if should_stop():
                report.end("interrupted")
                break
            report([])  # it waits for its place
    except LastingError as error:
        report.end("failed", error=str(error))
    _wait_until_taken(to_tune)


def _wait_until_taken(to_tune: TuneReportCallback) -> None:
    """Until Tune has taken the last word out of the queue between Train and Tune.

    A function that returns before puts its end where that word is to go, and Ray's own thread then
    waits for itself, for ever.
    """
    queue = to_tune._training_actor_item_queue
    until = time.monotonic() + _TAKEN_SECONDS
    while not queue.empty() and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    time.sleep(_LOOK_SECONDS)  # from that queue to the next, in the other thread


def _fit(
    assignment: Assignment, resources: Resources, storage: Path, to_tune: TuneReportCallback
) -> bool:
    """One try; False where there was no place for the workers in the time that Train waits."""
    trainer = TorchTrainer(
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
            callbacks=[to_tune],
            failure_config=ray_train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    try:
        trainer.fit()
    except ray_train.WorkerGroupError as error:
        raise _gravest(error.worker_failures) from error
    except ray_train.ControllerError as error:
        cause = error.controller_failure
        if type(cause).__name__ == _NO_PLACE:
            return False
        cause = cause.cause if isinstance(cause, RayTaskError) else cause
        raise _sorted(cause, assignment) from error
    return True


def _work(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    assignment = Assignment(**config)
    try:
        _play(assignment)
    except Exception as error:
        raise _sorted(error, assignment) from error


def _play(assignment: Assignment) -> None:
    context = ray_train.get_context()
    resources, device = experiment_of(assignment).resources, get_device()
    torch.set_num_threads(resources.cpus_per_worker)
    hold_to_share(resources, device)
    place = Place(device, context.get_world_rank(), context.get_world_size())
    group = get_current_placement_group()
    report = Report(ray_train.report, None if group is None else group.id.hex())
    play(assignment, place, report)


def _sorted(error: BaseException, assignment: Assignment) -> LastingError | LostError:
    text = told(error, assignment.folder)
    return LastingError(text) if lasting(error) else LostError(text)


def _gravest(failures: Mapping[int, Exception]) -> LastingError | LostError:
    """What ended the group, of the failures by rank: those that lost a worker fail with it."""
    last = [error for error in failures.values() if isinstance(error, LastingError)]
    if last:
        return min(last, key=lambda error: shortage(str(error)) is None)
    dead = {rank: e for rank, e in failures.items() if not isinstance(e, LostError)}
    for rank, error in dead.items():
        return LostError(f"the process of worker {rank} died\n{error}")
    return next(error for error in failures.values() if isinstance(error, LostError))
