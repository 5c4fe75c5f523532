"""Trials in this very process, without Ray: the same loop, the same runs in the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pg_platform.cluster.conductor import Conductor, Segment
from pg_platform.cluster.control import Control
from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.interrupts import interrupts
from pg_platform.cluster.player import told
from pg_platform.config.experiment import Resources
from pg_platform.training.loop import train
from pg_platform.training.place import local_place, place_facts
from pg_platform.training.rows import TRIAL_ERRORS, Outcome


class LocalExecutor:
    """Trains one segment after the other here."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, conductor: Conductor, resources: Resources, control: Control) -> None:  # noqa: ARG002
        """Run to the end, or to Ctrl-C.

        Raises ValueError for more than one worker. A trial that fails is told to the record.
        """
        if resources.workers > 1:
            raise ValueError(
                f"--local is one process and resources.workers is {resources.workers}; "
                "drop --local, or add --set resources.workers=1"
            )
        with interrupts() as interrupted:
            while isinstance(segment := conductor.next(), Segment):
                self._train(segment, conductor, interrupted)
                if interrupted():
                    conductor.close("interrupted")

    def _train(
        self, segment: Segment, conductor: Conductor, interrupted: Callable[[], bool]
    ) -> None:
        trial, experiment = segment.trial, segment.experiment
        place = local_place(experiment.resources)
        folder = trial_folder(self.root, trial)
        conductor.begin(trial)
        conductor.record.facts(trial, place_facts(experiment, place.device))
        try:
            outcome = train(
                experiment,
                folder,
                place=place,
                report=partial(conductor.rows, trial),
                should_stop=interrupted,
                until=segment.until,
                warn=partial(conductor.record.warn, trial),
            )
        except (MemoryError, OSError, *TRIAL_ERRORS) as error:
            conductor.fail(trial, told(error, str(folder)))
        except KeyboardInterrupt:  # the second one: what was checkpointed before stays
            conductor.end(trial, Outcome.INTERRUPTED)
            raise
        else:
            conductor.end(trial, outcome)
