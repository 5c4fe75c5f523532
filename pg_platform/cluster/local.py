"""Trials in this very process, without Ray: the same loop, the same runs in the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pg_platform.cluster.conductor import Conductor, Segment
from pg_platform.cluster.control import Control
from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.interrupts import INTERRUPTS
from pg_platform.cluster.watchdog import Guard
from pg_platform.config.experiment import Resources
from pg_platform.training.failures import lasting, told
from pg_platform.training.loop import train
from pg_platform.training.place import Place, local_place, place_facts
from pg_platform.training.rows import Outcome


class LocalExecutor:
    """Trains one segment after the other here."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, conductor: Conductor, resources: Resources, control: Control) -> None:  # noqa: ARG002
        """Run to the end, or to a signal that asks for it.

        A trial that fails is told to the record; one that loses a process that decodes goes on
        from its checkpoint, `max_failures` times. Raises ValueError for more than one worker.
        """
        if resources.workers > 1:
            raise ValueError(
                f"--local is one process and resources.workers is {resources.workers}; "
                "drop --local, or add --set resources.workers=1"
            )
        guard = Guard(grace=conductor.grace, running=lambda: bool(conductor.running))
        with INTERRUPTS.patient(guard):
            while isinstance(segment := conductor.next(), Segment):
                self._train(segment, conductor, lambda: guard.asked)
                if guard.asked:
                    conductor.record.verdict.stopped = True
                    conductor.close("interrupted")

    def _train(
        self, segment: Segment, conductor: Conductor, interrupted: Callable[[], bool]
    ) -> None:
        trial, place = segment.trial, local_place(segment.experiment.resources)
        most = conductor.rules.max_failures
        for lost in range(most + 1):
            conductor.begin(trial)
            conductor.record.facts(trial, place_facts(segment.experiment, place.device))
            try:
                outcome = self._play(segment, place, conductor, interrupted)
            except KeyboardInterrupt:  # the second one: what was checkpointed before stays
                conductor.end(trial, Outcome.INTERRUPTED)
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends a trial is told
                text = told(error, str(trial_folder(self.root, trial)))
                if lasting(error):
                    conductor.fail(trial, text)
                    return
                conductor.lost(trial, text, lost + 1, again=lost < most)
            else:
                conductor.end(trial, outcome)
                return

    def _play(
        self,
        segment: Segment,
        place: Place,
        conductor: Conductor,
        interrupted: Callable[[], bool],
    ) -> Outcome:
        return train(
            segment.experiment,
            trial_folder(self.root, segment.trial),
            place=place,
            report=partial(conductor.rows, segment.trial),
            should_stop=interrupted,
            until=segment.until,
            warn=partial(conductor.record.warn, segment.trial),
        )
