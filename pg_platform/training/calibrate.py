"""How fast an experiment's steps are, from a few of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pg_platform.config.experiment import Experiment
from pg_platform.training.checkpoint import Progress
from pg_platform.training.learner import Learner
from pg_platform.training.worker import local_worker, memory_gib, peak_memory_gib, worker_facts

WARM_UP = 2
"""Steps that are not timed: they load, allocate and choose kernels."""


@dataclass(frozen=True)
class Calibration:
    """Training images a second, on which device; start, validation and checkpoints not in it.

    `peak_gib` is the most memory that was held, of the `device_gib` that the device has.
    """

    images_per_s: float
    device: str
    peak_gib: float
    device_gib: float


def calibrate(experiment: Experiment, steps: int) -> Calibration:
    """Time `steps` real training steps in this process; nothing of them is kept.

    Raises ValueError where the experiment wants several workers, or a GPU that is not there.
    """
    if (workers := experiment.resources.workers) > 1:
        raise ValueError(
            f"resources.workers is {workers} and a calibration has one process; a finished run "
            "of this shape is what its forecast can rest on"
        )
    place = local_worker(experiment.resources)
    learner, progress = Learner(experiment, place), Progress()
    _take(learner, progress, WARM_UP)
    started = time.perf_counter()
    _take(learner, progress, steps)
    seconds = time.perf_counter() - started
    return Calibration(
        steps * experiment.batch_size / seconds,
        worker_facts(experiment, place.device)["device"],
        peak_memory_gib(place.device),
        memory_gib(place.device),
    )


def _take(learner: Learner, progress: Progress, steps: int) -> None:
    """So many steps, from epoch to epoch and from the last to the first; waits for their end."""
    taken = 0
    while taken < steps:
        if progress.step == learner.steps:
            progress.step = 0
        progress.epoch = progress.step // learner.loader.steps
        for batch in learner.batches(progress):
            learner.step(batch, progress)
            taken += 1
            if taken == steps:
                break
    learner.sums["loss"].item()
