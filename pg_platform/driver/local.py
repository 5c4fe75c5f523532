"""Trials without Ray, in one process beside this one: the same loop, the same runs in the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pg_platform.config.experiment import Resources
from pg_platform.driver.control import INTERRUPTS, Control, obey
from pg_platform.driver.own_process import Damaged, Failed, Order, OwnProcess
from pg_platform.driver.scheduler import Conductor, Segment
from pg_platform.driver.watchdog import Guard
from pg_platform.sweep.trials import Trial, trial_folder
from pg_platform.training.history import Heartbeat, Outcome
from pg_platform.training.worker import check_device


class LocalExecutor:
    """Trains one segment after the other on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, conductor: Conductor, resources: Resources, control: Control) -> None:
        """Run to the end, or until a signal or a request from elsewhere.

        A trial that fails is told to the record; one that loses a process that decodes goes on
        from its checkpoint, `max_failures` times. Raises ValueError for more than one worker.
        """
        if resources.workers > 1:
            raise ValueError(
                f"--local is one process and resources.workers is {resources.workers}; "
                "drop --local, or add --set resources.workers=1"
            )
        guard = Guard(grace=conductor.grace, running=lambda: bool(conductor.running))
        to_stop: set[str] = set()

        def asked(trial: Trial) -> bool:
            obey(conductor, control, to_stop.update, guard.ask)
            return guard.asked or trial.id in to_stop

        with OwnProcess() as process, INTERRUPTS.patient(guard):
            while isinstance(segment := conductor.next(), Segment):
                self._train(segment, conductor, process, partial(asked, segment.trial))
                if guard.asked:
                    conductor.record.verdict.stopped = True
                    conductor.close("interrupted")

    def _train(
        self,
        segment: Segment,
        conductor: Conductor,
        process: OwnProcess,
        interrupted: Callable[[], bool],
    ) -> None:
        trial, most = segment.trial, conductor.rules.max_failures
        check_device(segment.experiment.resources)
        for lost in range(most + 1):
            try:
                end = self._played(segment, conductor, process, interrupted)
            except KeyboardInterrupt:  # the second one: what was checkpointed before stays
                conductor.end(trial, Outcome.INTERRUPTED)
                raise
            match end:
                case Outcome():
                    conductor.end(trial, end)
                    return
                case Failed(error, lasting=True):
                    conductor.fail(trial, error)
                    return
                case Failed(error):
                    conductor.lost(trial, error, lost + 1, again=lost < most)

    def _played(
        self,
        segment: Segment,
        conductor: Conductor,
        process: OwnProcess,
        interrupted: Callable[[], bool],
    ) -> Outcome | Failed:
        """Runs a segment in the process, whose words go to the conductor; the last word."""
        trial = segment.trial
        folder = str(trial_folder(self.root, trial))
        order = Order(segment.experiment.model_dump_json(), folder, segment.until)
        conductor.begin(trial)
        for word in process.train(order, interrupted):
            match word:
                case Failed() | Outcome():
                    return word
                case Damaged(told):
                    conductor.record.warn(trial, told)
                case Heartbeat():
                    conductor.beat(trial, word)
                case dict():
                    conductor.record.facts(trial, word)
                case rows:
                    conductor.rows(trial, rows)
        raise AssertionError("the last word of a segment is an outcome or a failure")
