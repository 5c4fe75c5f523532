"""Trials without Ray, in one process beside this one: the same loop, the same runs in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pg_platform.cluster.conductor import Conductor, Segment
from pg_platform.cluster.control import Control
from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.interrupts import interrupts
from pg_platform.cluster.own_process import Failed, Order, OwnProcess
from pg_platform.config.experiment import Resources
from pg_platform.training.place import check_device
from pg_platform.training.rows import Outcome


class LocalExecutor:
    """Trains one segment after the other on this machine."""

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
        with OwnProcess() as process, interrupts() as interrupted:
            while isinstance(segment := conductor.next(), Segment):
                self._train(segment, conductor, process, interrupted)
                if interrupted():
                    conductor.close("interrupted")

    def _train(
        self,
        segment: Segment,
        conductor: Conductor,
        process: OwnProcess,
        interrupted: Callable[[], bool],
    ) -> None:
        trial, experiment = segment.trial, segment.experiment
        check_device(experiment.resources)
        folder = trial_folder(self.root, trial)
        order = Order(experiment.model_dump_json(), str(folder), segment.until)
        conductor.begin(trial)
        try:
            for word in process.train(order, interrupted):
                match word:
                    case Failed(error):
                        conductor.fail(trial, error)
                    case Outcome():
                        conductor.end(trial, word)
                    case dict():
                        conductor.record.facts(trial, word)
                    case rows:
                        conductor.rows(trial, rows)
        except KeyboardInterrupt:  # the second one: what was checkpointed before stays
            conductor.end(trial, Outcome.INTERRUPTED)
            raise
