"""From a checked file to an answer: plan, what the store lacks, execution, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from pg_platform.cluster.lock import only_driver
from pg_platform.cluster.record import Record, Verdict
from pg_platform.cluster.screen import Screen
from pg_platform.config.metrics import success
from pg_platform.config.plan import Trial, plan
from pg_platform.config.sweep import Metric, Sweep
from pg_platform.data.identity import identity
from pg_platform.data.sizes import check_sizes
from pg_platform.results.report import SweepReport
from pg_platform.results.runs import TrialRuns
from pg_platform.results.tables import Comparison
from pg_platform.results.tracking import Store

TRAIN = "train"
"""The experiment and the key under which single runs stand in the store."""


class Executor(Protocol):
    """What runs trials: Ray (cluster/sweep.py), or this process (cluster/local.py)."""

    def run(self, trials: Sequence[Trial], record: Record) -> None: ...


@dataclass(frozen=True)
class SweepResult:
    """How a sweep stands after a call, and where to look at it."""

    trials: Sequence[Trial]
    reused: frozenset[str]
    verdict: Verdict
    table: Comparison
    experiment_id: str
    run_id: str


@dataclass(frozen=True)
class TrainResult:
    """How a single run stands after a call, and where its checkpoints lie."""

    verdict: Verdict
    run_id: str | None
    """None where it was interrupted before its first step."""
    folder: Path
    reused: bool


def trial_folder(root: Path, trial: Trial) -> Path:
    """Where the checkpoints of `trial` lie: by its id, whatever file asks for it."""
    return root / "trials" / trial.id


def run_sweep(sweep: Sweep, root: Path, store: Store, executor: Executor) -> SweepResult:
    """Run what is not finished of `sweep`, writing its report after each trial.

    Raises AlreadyRunningError, ClusterError, or ValueError where the data cannot be had.
    """
    trials = plan(sweep, identity)
    check_sizes(sweep.experiments)
    with only_driver(root, sweep.name):
        runs = TrialRuns.of_sweep(store, sweep, partial(trial_folder, root))
        report = SweepReport(runs, sweep, trials)
        reused = runs.finished(trials)
        with Screen(trials, sweep.metric.name) as screen:
            for trial_id in reused:
                screen.show(trial_id, "reused")
            left = [trial for trial in trials if trial.id not in reused]
            record = Record(runs, screen, report.write_when_due)
            executor.run(left, record)
        verdict = record.verdict
        table = report.write()
        runs.close_sweep(failed=bool(verdict.failed), interrupted=bool(verdict.interrupted))
    return SweepResult(
        trials, frozenset(reused), verdict, table, runs.experiment_id, runs.parent or ""
    )


def run_train(trial: Trial, root: Path, store: Store, executor: Executor) -> TrainResult:
    """Run one trial, or not at all if the store holds it as finished."""
    check_sizes([trial.experiment])
    folder = trial_folder(root, trial)
    with only_driver(root, f"{TRAIN}-{trial.id}"):
        metric = Metric(name=success(trial.experiment))
        runs = TrialRuns.of_single(store, TRAIN, metric, partial(trial_folder, root))
        if done := runs.finished([trial]):
            return TrainResult(Verdict(), done[trial.id], folder, reused=True)
        with Screen([trial], metric.name) as screen:
            record = Record(runs, screen, store.flush)
            executor.run([trial], record)
    return TrainResult(record.verdict, runs.ids.get(trial.id), folder, reused=False)
