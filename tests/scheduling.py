"""Schedulers on a real store, whose trials a test plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pg_platform.driver.early_stopping import EarlyStopping
from pg_platform.driver.live_table import LiveTable
from pg_platform.driver.scheduler import Scheduler, Segment
from pg_platform.driver.trial_events import TrialEvents
from pg_platform.store.runs import TrialRuns
from pg_platform.sweep.schema import SweepFile
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import Outcome
from tests.results import ACCURACY, rows

EPOCHS = 100
"""Of the experiments of `vocabularies`."""


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Searched:
    """Gives points from a list, and keeps what it is told."""

    points: list[list[Trial]]
    told: dict[str, tuple[list[float], bool]] = field(default_factory=dict)

    def ask(self) -> Sequence[Trial]:
        return self.points.pop(0) if self.points else []

    def tell(self, group: str, values: Sequence[float], *, pruned: bool) -> None:
        self.told[group] = (list(values), pruned)


def scheduler(
    runs: TrialRuns,
    trials: Sequence[Trial],
    clock: Clock | None = None,
    search: Searched | None = None,
    **words: Any,
) -> Scheduler:
    rules = SweepFile.model_validate({"name": "c", "metric": ACCURACY.model_dump(), **words})
    record = TrialEvents(runs, LiveTable(trials, ACCURACY.name), lambda: None)
    judge = EarlyStopping(rules.early_terminate, maximize=True, epochs=EPOCHS)
    made = Scheduler(rules, record, judge, search=search, clock=clock or Clock())
    made.add(trials)
    return made


def started(made: Scheduler) -> Segment:
    segment = made.next()
    assert isinstance(segment, Segment)
    made.begin(segment.trial)
    return segment


def finish(made: Scheduler, trial: Trial, value: float = 0.5) -> None:
    made.rows(trial, rows(ACCURACY.name, [value]))
    made.end(trial, Outcome.COMPLETED)
