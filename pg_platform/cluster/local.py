"""Trials in this very process, without Ray: the same loop, the same run in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.interrupts import interrupts
from pg_platform.cluster.screen import Screen
from pg_platform.cluster.verdict import Verdict
from pg_platform.config.plan import Trial
from pg_platform.results.runs import TrialRuns
from pg_platform.training.loop import Outcome, train
from pg_platform.training.place import local_place, place_facts
from pg_platform.training.rows import Row


class LocalExecutor:
    """Trains one trial after the other here."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self,
        trials: Sequence[Trial],
        runs: TrialRuns,
        screen: Screen,
        *,
        on_end: Callable[[], None],
    ) -> Verdict:
        """Train `trials` to their end, or to Ctrl-C.

        Raises ValueError for more than one worker, or what `train` raises; the run is then
        closed as failed.
        """
        verdict = Verdict()
        with interrupts() as interrupted:
            for trial in trials:
                outcome = self._train(trial, runs, screen, interrupted)
                if outcome is Outcome.COMPLETED:
                    verdict.finished.add(trial.id)
                else:
                    verdict.interrupted.add(trial.id)
                on_end()
        return verdict

    def _train(
        self, trial: Trial, runs: TrialRuns, screen: Screen, interrupted: Callable[[], bool]
    ) -> Outcome:
        experiment = trial.experiment
        if experiment.resources.workers > 1:
            raise ValueError(
                f"--local is one process and resources.workers is {experiment.resources.workers}; "
                "drop --local, or add --set resources.workers=1"
            )
        place = local_place(experiment.resources)
        runs.open(trial)
        runs.tag(trial, place_facts(experiment, place.device))
        screen.show(trial.id, "running")

        def report(rows: Sequence[Row]) -> None:
            runs.log(trial, rows)
            screen.progress(trial.id, rows[-1])

        try:
            outcome = train(
                experiment,
                trial_folder(self.root, trial),
                place=place,
                report=report,
                should_stop=interrupted,
            )
        except BaseException as error:
            runs.fail(trial, repr(error))
            raise
        how: Literal["finished", "interrupted"] = (
            "finished" if outcome is Outcome.COMPLETED else "interrupted"
        )
        runs.close(trial, how)
        screen.show(trial.id, how)
        return outcome
