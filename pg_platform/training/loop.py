"""How the agents learn: epochs of steps, with nothing here about where it runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from pg_platform.config.experiment import Experiment
from pg_platform.training.checkpoint import Progress
from pg_platform.training.history import Journal, Outcome, Row
from pg_platform.training.learner import Learner
from pg_platform.training.sole_writer import sole_writer
from pg_platform.training.worker import Agreement, Place

Report = Callable[[Sequence[Row]], None]
"""Called on every worker with new rows; after a resume, first with all rows so far.

With none where the worker waits."""

Warn = Callable[[str], None]
"""Called on every worker where a run goes on from something else than one would think."""

STOP_POLL_STEPS = 10
"""Several workers agree on a stop once in so many steps, and stop so many steps later; one worker
looks at every step."""


def _warn(told: str) -> None:
    warnings.warn(told, stacklevel=2)


def train(  # noqa: PLR0913 - most of them by keyword
    experiment: Experiment,
    folder: Path,
    *,
    place: Place,
    report: Report,
    should_stop: Callable[[], bool],
    should_save: Callable[[], bool] = lambda: False,
    until: int | None = None,
    warn: Warn = _warn,
) -> Outcome:
    """Train to the last epoch, from the newest whole checkpoint in `folder` if there is one.

    `warn` is told where newer ones are damaged; CheckpointError where none of them is whole.
    Where `until` is an epoch before the last one, training pauses at its end. Where `should_save`
    says so, a checkpoint is left and training goes on.

    Every worker of `place` calls this. A run that was cut off anywhere and called again ends
    with the weights of a run that was not, bit for bit on the CPU with equal threads. Raises
    FloatingPointError where the loss is not finite; the checkpoints before it stay. While another
    process trains in `folder` this one waits, and reports no rows to say that it lives.
    """
    learner = Learner(experiment, place)
    alone = sole_writer(folder, place, waiting=lambda: report([]), should_stop=should_stop)
    with alone as ours:
        if not ours:
            return Outcome.INTERRUPTED
        progress = learner.resume(folder, warn)
        return _train(learner, progress, folder, report, should_stop, should_save, until)


def _train(  # noqa: PLR0913 - all that a run is
    learner: Learner,
    progress: Progress,
    folder: Path,
    report: Report,
    should_stop: Callable[[], bool],
    should_save: Callable[[], bool],
    until: int | None,
) -> Outcome:
    place, experiment = learner.place, learner.experiment
    journal = Journal(folder / "metrics.jsonl")
    if place.rank == 0:
        journal.restart(progress.rows)
    if progress.rows:
        report(progress.rows)
    stops, saves = Agreement(place), Agreement(place)

    def asked(step: int) -> bool:
        if place.world > 1 and step % STOP_POLL_STEPS:
            return False
        stop = stops(should_stop())
        if saves(should_save()):
            learner.save(folder, progress)
        return stop

    last = experiment.epochs if until is None else min(until, experiment.epochs)
    while progress.epoch < last:
        if not _run_epoch(learner, progress, folder, asked):
            learner.save(folder, progress)
            return Outcome.INTERRUPTED
        row = learner.finish_epoch(progress)
        learner.save(folder, progress)
        if place.rank == 0:
            journal.append(row)
        report([row])
    return Outcome.COMPLETED if progress.epoch >= experiment.epochs else Outcome.PAUSED


def _run_epoch(
    learner: Learner, progress: Progress, folder: Path, should_stop: Callable[[int], bool]
) -> bool:
    """Take the steps of one epoch that are left; False where a stop was asked for."""
    every = learner.experiment.checkpoints.every_steps
    for batch in learner.batches(progress):
        learner.step(batch, progress)
        if every and progress.step % every == 0:
            learner.save(folder, progress)
        if should_stop(progress.step):
            return False
    return True
