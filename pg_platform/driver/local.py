"""Trials without Ray, in one process beside this one: the same loop, the same runs in the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pg_platform.config.experiment import Resources
from pg_platform.driver.control import INTERRUPTS, Control, obey
from pg_platform.driver.own_process import Damaged, Failed, Order, OwnProcess
from pg_platform.driver.scheduler import Scheduler, Segment
from pg_platform.driver.watchdog import DriverGuard
from pg_platform.sweep.trials import Trial, trial_folder
from pg_platform.training.history import Heartbeat, Outcome
from pg_platform.training.worker import check_device


class LocalExecutor:
    """Trains one segment after the other on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, scheduler: Scheduler, resources: Resources, control: Control) -> None:
        """Run to the end, or until a signal or a request from elsewhere.

        A trial that fails is told to the record; one that loses a process that decodes goes on
        from its checkpoint, `max_failures` times. Raises ValueError for more than one worker.
        """
        if resources.workers > 1:
            raise ValueError(
                f"--local is one process and resources.workers is {resources.workers}; "
                "drop --local, or add --set resources.workers=1"
            )
        guard = DriverGuard(grace=scheduler.grace, running=lambda: bool(scheduler.running))
        to_stop: set[str] = set()

        def asked(trial: Trial) -> bool:
            obey(scheduler, control, to_stop.update, guard.ask)
            return guard.asked or trial.id in to_stop

        with OwnProcess() as process, INTERRUPTS.patient(guard):
            while isinstance(segment := scheduler.next(), Segment):
                self._train(segment, scheduler, process, partial(asked, segment.trial))
                if guard.asked:
                    scheduler.record.verdict.stopped = True
                    scheduler.close("interrupted")

    def _train(
        self,
        segment: Segment,
        scheduler: Scheduler,
        process: OwnProcess,
        interrupted: Callable[[], bool],
    ) -> None:
        trial, most = segment.trial, scheduler.rules.max_failures
        check_device(segment.experiment.resources)
        for lost in range(most + 1):
            try:
                end = self._played(segment, scheduler, process, interrupted)
            except KeyboardInterrupt:  # the second one: what was checkpointed before stays
                scheduler.end(trial, Outcome.INTERRUPTED)
                raise
            match end:
                case Outcome():
                    scheduler.end(trial, end)
                    return
                case Failed(error, lasting=True):
                    scheduler.fail(trial, error)
                    return
                case Failed(error):
                    scheduler.lost(trial, error, lost + 1, again=lost < most)

    def _played(
        self,
        segment: Segment,
        scheduler: Scheduler,
        process: OwnProcess,
        interrupted: Callable[[], bool],
    ) -> Outcome | Failed:
        """Runs a segment in the process, whose words go to the scheduler; the last word."""
        trial = segment.trial
        folder = str(trial_folder(self.root, trial))
        order = Order(segment.experiment.model_dump_json(), folder, segment.until)
        scheduler.begin(trial)
        for word in process.train(order, interrupted):
            match word:
                case Failed() | Outcome():
                    return word
                case Damaged(told):
                    scheduler.record.warn(trial, told)
                case Heartbeat():
                    scheduler.beat(trial, word)
                case dict():
                    scheduler.record.facts(trial, word)
                case rows:
                    scheduler.rows(trial, rows)
        raise AssertionError("the last word of a segment is an outcome or a failure")
