"""How the agents learn: epochs of steps, with nothing here about where it runs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from pg_platform.config.experiment import Experiment
from pg_platform.training.checkpoint import Progress
from pg_platform.training.history import Heartbeat, Journal, Outcome, Row
from pg_platform.training.learner import Learner
from pg_platform.training.sole_writer import sole_writer
from pg_platform.training.worker import Agreement, Worker

Report = Callable[[Sequence[Row]], None]
"""Called on every worker with new rows; after a resume, first with all rows so far.

With none where the worker waits."""

Warn = Callable[[str], None]
"""Called on every worker where a run goes on from something else than one would think."""

Beat = Callable[[Heartbeat], None]
"""Called on every worker at the same step, now and then inside an epoch."""

HEARTBEAT_SECONDS = 1.0

STOP_POLL_STEPS = 10
"""Several workers agree on a stop once in so many steps, and stop so many steps later; one worker
looks at every step."""


def _warn(told: str) -> None:
    warnings.warn(told, stacklevel=2)


def train(  # noqa: PLR0913 - most of them by keyword
    experiment: Experiment,
    folder: Path,
    *,
    place: Worker,
    report: Report,
    should_stop: Callable[[], bool],
    should_save: Callable[[], bool] = lambda: False,
    until: int | None = None,
    warn: Warn = _warn,
    beat: Beat = lambda _: None,
    beat_seconds: float = HEARTBEAT_SECONDS,
) -> Outcome:
    """Train to the last epoch, from the newest whole checkpoint in `folder` if there is one.

    `warn` is told where newer ones are damaged; CheckpointError where none of them is whole.
    Where `until` is an epoch before the last one, training pauses at its end. Where `should_save`
    says so, a checkpoint is left and training goes on. `beat` is told where training stands, at
    most once in `beat_seconds`.

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
        pulse = _Pulse(learner, progress, beat, beat_seconds)
        return _train(learner, progress, folder, report, should_stop, should_save, until, pulse)


def _train(  # noqa: PLR0913 - all that a run is
    learner: Learner,
    progress: Progress,
    folder: Path,
    report: Report,
    should_stop: Callable[[], bool],
    should_save: Callable[[], bool],
    until: int | None,
    pulse: _Pulse,
) -> Outcome:
    place, experiment = learner.place, learner.experiment
    journal = Journal(folder / "metrics.jsonl")
    if place.rank == 0:
        journal.restart(progress.rows)
    if progress.rows:
        report(progress.rows)
    agreed = Agreement(place, questions=3)

    def asked(step: int) -> bool:
        if place.world > 1 and step % STOP_POLL_STEPS:
            return False
        stop, save, beat = agreed(should_stop(), should_save(), pulse.due())
        if save:
            learner.save(folder, progress)
        if beat:
            pulse.beat()
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


class _Pulse:
    """Tells how far training has come; its clock is the host's, so that no device is waited for."""

    def __init__(self, learner: Learner, progress: Progress, tell: Beat, seconds: float) -> None:
        self.learner, self.progress, self.tell, self.seconds = learner, progress, tell, seconds
        self.asked = self.at = time.monotonic()
        self.step = progress.step

    def due(self) -> bool:
        """Whether it is time, by the clock of this worker; True once each time."""
        now = time.monotonic()
        if now - self.asked < self.seconds:
            return False
        self.asked = now
        return True

    def beat(self) -> None:
        """Tell the step and the speed since the last heartbeat."""
        now, step, steps = time.monotonic(), self.progress.step, self.learner.steps
        speed = (step - self.step) / max(now - self.at, 1e-9)
        self.at, self.step = now, step
        if speed:
            images = speed * self.learner.experiment.batch_size
            epoch = self.progress.epoch + 1
            self.tell(Heartbeat(epoch, step, steps, images, (steps - step) / speed))


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
