"""From a checked file to an answer: plan, what the store lacks, execution, report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pg_platform.config.experiment import Experiment, Resources
from pg_platform.config.metrics import success
from pg_platform.data.identity import identity
from pg_platform.data.packs import local_packs
from pg_platform.data.sizes import check_room, check_sizes
from pg_platform.driver.control import INTERRUPTS, Control
from pg_platform.driver.dry_run import check_custom
from pg_platform.driver.early_stopping import EarlyStopping
from pg_platform.driver.gpu_packing import told_share
from pg_platform.driver.live_table import LiveTable, Output
from pg_platform.driver.resume import (
    Retry,
    StoredState,
    begin_afresh,
    forecast_of,
    foresee,
    look_up,
    refuse_other_sweep,
    resources_of,
)
from pg_platform.driver.scheduler import Scheduler
from pg_platform.driver.trial_events import TrialEvents, TrialOutcomes, error_log, headline
from pg_platform.files import only_driver
from pg_platform.progress import tracked
from pg_platform.report.comparison import Comparison
from pg_platform.report.report import SweepReport
from pg_platform.store.codes import before_adding
from pg_platform.store.runs import TrialRuns
from pg_platform.store.store import Store
from pg_platform.sweep.load import Metric, Sweep
from pg_platform.sweep.schema import SweepFile
from pg_platform.sweep.trials import Trial, _folder, plan, trial_folder, trials_of_point
from pg_platform.training.code import code_identity

TRAIN = "train"
"""The experiment and the key under which single runs stand in the store."""


class Executor(Protocol):
    """What runs segments: Ray (cluster/executor.py), or this process (driver/local.py)."""

    def run(self, scheduler: Scheduler, resources: Resources, control: Control) -> None: ...


@dataclass(frozen=True)
class SweepResult:
    """How a sweep stands after a call, and where to look at it."""

    trials: Sequence[Trial]
    standing: StoredState
    verdict: TrialOutcomes
    table: Comparison | None
    experiment_id: str
    run_id: str
    store: str
    """The address of the store, as MLflow reads it."""
    claims: Sequence[str] = ()
    """What the sweep says to each claim of the paper, a sentence each."""
    kept: str | None = None
    """Why the report in the store was not replaced by this table; None where it was."""


@dataclass(frozen=True)
class TrainResult:
    """How a single run stands after a call, and where its checkpoints lie."""

    verdict: TrialOutcomes
    run_id: str | None
    """None where it was interrupted before its first step."""
    folder: Path
    reused: bool
    """Whether it had finished before, and was not run again."""


class TrialFailedError(RuntimeError):
    """The only trial of a call failed; `result` says how it stands, `error` is the traceback."""

    def __init__(self, name: str, error: str, result: TrainResult) -> None:
        log = error_log(result.folder)
        super().__init__(f"{name}: {headline(error)}; the traceback lies in {log}")
        self.name, self.error, self.result = name, error, result


@dataclass
class _Planned:
    """The trials of a sweep; a search adds to them while it goes on."""

    sweep: Sweep
    trials: list[Trial] = field(default_factory=list)

    def of_choice(self, choice: Mapping[str, Any]) -> list[Trial]:
        """The trials of what a search chose; none where `exclude` leaves the point out."""
        assert self.sweep.space is not None, "only a search chooses"
        point = self.sweep.space.point(choice)
        if point is None:
            return []
        check_sizes([point.experiment])
        check_custom([point.experiment])
        return trials_of_point(self.sweep, point, identity, choice)


def run_sweep(  # noqa: PLR0913 - the last one by keyword
    sweep: Sweep,
    root: Path,
    store: Store,
    executor: Executor,
    retry: Retry | None = None,
    *,
    output: Output = "table",
) -> SweepResult:
    """Run what is not finished of `sweep`, writing its report after each trial.

    Raises AlreadyRunningError, ClusterError, or ValueError where the data cannot be had, or the
    store has the sweep with other settings.
    """
    retry = retry or Retry()
    planned = _Planned(sweep, list(plan(sweep, identity)))
    check_sizes(sweep.experiments)
    check_custom(sweep.experiments)
    _check_room(sweep.experiments)
    _check_pixels(sweep.experiments)
    with only_driver(root, sweep.name), ExitStack() as at_end:
        forecast = forecast_of(store, root, [t.experiment for t in planned.trials])
        resources = resources_of(sweep, planned.trials, forecast)
        if retry.fresh:
            begin_afresh(sweep, planned.trials, store, partial(_folder, root))
        else:
            refuse_other_sweep(store, sweep, planned.trials)
        runs = TrialRuns.of_sweep(store, sweep, partial(trial_folder, root))
        at_end.enter_context(runs.closing())
        control = Control(root, sweep.name)
        control.open()
        standing = look_up(runs, planned.trials, sweep, retry)
        planned.trials[:] = standing.trials
        report = SweepReport(runs, sweep, planned.trials)
        foresee(runs, standing, forecast)
        with LiveTable(planned.trials, sweep.metric.base.name, output) as screen:
            for trial in planned.trials:
                if trial.id in standing.told:
                    screen.show(trial, standing.told[trial.id])
            record = TrialEvents(runs, screen, report.write_when_due)
            if resources != sweep.experiment.resources:
                record.say(f"resources.pack: auto gives each worker {told_share(resources)}")
            scheduler = _conductor(sweep, record, standing, planned, resources)
            stale = standing.of_other_code()
            if stale and (scheduler.queue or scheduler.search is not None):
                record.say(before_adding(stale, code_identity()))
            _play(scheduler, executor, resources, control)
        verdict = record.verdict
        table = report.write(whole=True)
        failed = bool(verdict.failed or standing.kept("failed"))
        runs.close_sweep(failed=failed, interrupted=bool(verdict.interrupted))
    return SweepResult(
        planned.trials,
        standing,
        verdict,
        table,
        runs.experiment_id,
        runs.parent or "",
        store.uri,
        claims=report.claims,
        kept=None if report.refused is None else str(report.refused),
    )


def run_train(
    trial: Trial, root: Path, store: Store, executor: Executor, *, output: Output = "table"
) -> TrainResult:
    """Run one trial, or not at all if the store holds it as finished."""
    check_sizes([trial.experiment])
    check_custom([trial.experiment])
    _check_room([trial.experiment])
    _check_pixels([trial.experiment])
    folder = trial_folder(root, trial)
    with only_driver(root, f"{TRAIN}-{trial.id}"):
        metric = Metric.of(success(trial.experiment))
        runs = TrialRuns.of_single(store, TRAIN, metric, partial(trial_folder, root))
        if done := runs.finished([trial]):
            return TrainResult(TrialOutcomes(), done[trial.id], folder, reused=True)
        rules = SweepFile(name=TRAIN, metric=metric, on_oom="fail")
        control = Control(root, f"{TRAIN}-{trial.id}")
        control.open()
        with LiveTable([trial], metric.name, output) as screen:
            record = TrialEvents(runs, screen, store.flush)
            scheduler = Scheduler(rules, record, _judge(rules, trial.experiment.epochs))
            scheduler.add([trial])
            _play(scheduler, executor, trial.experiment.resources, control)
    return TrainResult(record.verdict, runs.ids.get(trial.id), folder, reused=False)


def _check_room(experiments: Iterable[Experiment]) -> None:
    """See `check_room`; of machines that are not this one their own workers find out."""
    if "RAY_ADDRESS" in os.environ:
        return
    for experiment in experiments:
        check_room(experiment, experiment.resources.workers)


def _check_pixels(experiments: Sequence[Experiment]) -> None:
    """Refuse a pack whose pixels are not those of its manifest, before any trial starts."""
    for pack in local_packs(experiment.data for experiment in experiments):
        for _ in tracked(pack.checked(), f"hashes of {pack.folder}", len(pack.shards)):
            pass


def _play(scheduler: Scheduler, executor: Executor, resources: Resources, control: Control) -> None:
    """Let the executor run; whatever ends it, the others learn that nothing runs any more."""
    leave = partial(_leave, scheduler, control)
    with INTERRUPTS.watchdog.leaving(partial(leave, cut_off=True)):
        try:
            if scheduler.queue or scheduler.search is not None:
                executor.run(scheduler, resources, control)
        except BaseException:
            leave(cut_off=True)
            raise
        leave(cut_off=False)


def _leave(scheduler: Scheduler, control: Control, *, cut_off: bool) -> None:
    """Nothing runs any more; where the call was cut off, its end is told to the store here."""
    screen = scheduler.record.screen
    control.write({"running": False, "trials": screen.states()}, now=True)
    if cut_off:
        scheduler.record.on_end = lambda: None  # the report is written by the call that goes on
    scheduler.abandon()
    control.write({"running": False, "trials": screen.states()}, now=True)
    if cut_off:
        scheduler.record.runs.cut_off()
        screen.stop()


def _conductor(
    sweep: Sweep,
    record: TrialEvents,
    standing: StoredState,
    planned: _Planned,
    resources: Resources,
) -> Scheduler:
    rules, search = sweep.file, None
    if sweep.space is not None:
        from pg_platform.driver.search import PointSearch

        search = PointSearch(sweep.space, rules, planned.of_choice, planned.trials)
        for group, (choice, values) in standing.searched().items():
            search.replay(group, choice, values)
    judge = _judge(rules, sweep.experiment.epochs)
    scheduler = Scheduler(
        rules,
        record,
        judge,
        search=search,
        resources=resources,
        spent_seconds=standing.spent_seconds,
    )
    scheduler.add(planned.trials, standing.finished, standing.given_up)
    for trial in planned.trials:
        if trial.id in standing.finished:
            scheduler.replay(trial, standing.history(trial, sweep.metric))
    return scheduler


def _judge(rules: SweepFile, epochs: int) -> EarlyStopping:
    """At a rung the base metric is compared: a level is reached early where that is good."""
    maximize = rules.metric.base.goal == "maximize"
    return EarlyStopping(rules.early_terminate, maximize=maximize, epochs=epochs)
