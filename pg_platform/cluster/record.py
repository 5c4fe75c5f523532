"""What happens to trials, told at once to the store, to the screen and to the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pg_platform.cluster.screen import Screen
from pg_platform.config.plan import Trial
from pg_platform.results.runs import TrialRuns
from pg_platform.training.rows import Outcome, Row


@dataclass
class Verdict:
    """Trial ids by how they ended in this call; `failed` holds the traceback."""

    finished: set[str] = field(default_factory=set)
    interrupted: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class Record:
    """The trials of one call; `on_end` is called after each that ends."""

    runs: TrialRuns
    screen: Screen
    on_end: Callable[[], None]
    verdict: Verdict = field(default_factory=Verdict)

    def begin(self, trial: Trial) -> None:
        """The trial's process is up: for the first time, or again."""
        self.runs.open(trial)
        self.screen.show(trial.id, "running")

    def facts(self, trial: Trial, facts: Mapping[str, str]) -> None:
        """What is known only where the trial runs."""
        self.runs.tag(trial, facts)

    def rows(self, trial: Trial, rows: Sequence[Row]) -> None:
        """The trial reports rows, at least one."""
        self.runs.log(trial, rows)
        self.screen.progress(trial.id, rows[-1])

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """The trial came to its end, or was asked to stop and left a checkpoint."""
        self.runs.close(trial, outcome)
        if outcome is Outcome.COMPLETED:
            self.verdict.finished.add(trial.id)
            self.screen.show(trial.id, "finished")
        else:
            self.verdict.interrupted.add(trial.id)
            self.screen.show(trial.id, "interrupted")
        self.on_end()

    def fail(self, trial: Trial, error: str) -> None:
        """The trial failed; the others go on."""
        self.runs.fail(trial, error)
        self.verdict.failed[trial.id] = error
        self.screen.show(trial.id, "failed")
        self.on_end()
