"""Trials in this very process, without Ray: the same loop, the same runs in the store."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.interrupts import interrupts
from pg_platform.cluster.record import Record
from pg_platform.config.plan import Trial
from pg_platform.training.loop import train
from pg_platform.training.place import local_place, place_facts
from pg_platform.training.rows import TRIAL_ERRORS, Outcome


class LocalExecutor:
    """Trains one trial after the other here."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, trials: Sequence[Trial], record: Record) -> None:
        """Train `trials` to their end, or to Ctrl-C.

        Raises ValueError for more than one worker. A trial that fails is told to the record.
        """
        with interrupts() as interrupted:
            for trial in trials:
                self._train(trial, record, interrupted)

    def _train(self, trial: Trial, record: Record, interrupted: Callable[[], bool]) -> None:
        experiment = trial.experiment
        if experiment.resources.workers > 1:
            raise ValueError(
                f"--local is one process and resources.workers is {experiment.resources.workers}; "
                "drop --local, or add --set resources.workers=1"
            )
        place = local_place(experiment.resources)
        record.begin(trial)
        record.facts(trial, place_facts(experiment, place.device))
        try:
            outcome = train(
                experiment,
                trial_folder(self.root, trial),
                place=place,
                report=partial(record.rows, trial),
                should_stop=interrupted,
            )
        except (OSError, *TRIAL_ERRORS):
            record.fail(trial, traceback.format_exc())
        except KeyboardInterrupt:  # the second one: what was checkpointed before stays
            record.end(trial, Outcome.INTERRUPTED)
            raise
        else:
            record.end(trial, outcome)
