"""How the trials of a sweep stand before a call: the plan is what is asked minus this."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pg_platform.config.experiment import Experiment, Resources
from pg_platform.config.metrics import base, measure
from pg_platform.data.sizes import split_sizes
from pg_platform.driver.forecast import Forecast
from pg_platform.driver.gpu_packing import packed
from pg_platform.driver.speeds import calibrations
from pg_platform.store.codes import code_of
from pg_platform.store.runs import FORECAST, TrialRuns, searched_before, trials_of
from pg_platform.store.settings import refuse_other_settings
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Metric, Sweep
from pg_platform.sweep.trials import Trial, shape
from pg_platform.training.code import code_identity


@dataclass(frozen=True)
class Retry:
    """Which results of earlier calls do not count."""

    failed: bool = False
    infeasible: bool = False
    fresh: bool = False
    rerun: bool = False
    """Those of other code than today's do not count."""


@dataclass
class StoredState:
    """Trial ids by how they stand. `told` has a word for each that is not run."""

    runs: TrialRuns
    trials: list[Trial]
    finished: dict[str, StoredRun] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    spent_seconds: float = 0.0

    def of_other_code(self) -> dict[str, str]:
        """The code of finished trials that is not today's, by their names."""
        codes = {t.name: code_of(self.finished[t.id]) for t in self.trials if t.id in self.finished}
        return {name: code for name, code in codes.items() if code != code_identity()}

    def kept(self, word: str) -> list[str]:
        """The trials that are not run because they stand as `word`: failed, infeasible, pruned."""
        return [trial_id for trial_id, told in self.told.items() if told == word]

    def history(self, trial: Trial, metric: Metric) -> list[tuple[int, float]]:
        """(epoch, value) of a finished trial."""
        run = self.finished[trial.id]
        return self.runs.store.history(run.run_id, base(metric.name))

    def searched(self) -> dict[str, tuple[Mapping[str, Any], list[float]]]:
        """What a search chose in earlier calls, by point, and what its finished seeds gave.

        That is nothing for a point of which some seeds go on: it is told of when they end.
        """
        found: dict[str, tuple[Mapping[str, Any], list[float]]] = {}
        goes_on = {t.group for t in self.trials if t.id not in self.finished.keys() | self.given_up}
        metric = self.runs.metric
        for trial in self.trials:
            if trial.choice:
                values = found.setdefault(trial.group, (trial.choice, []))[1]
                if trial.id in self.finished and trial.group not in goes_on:
                    values.append(measure(self.history(trial, metric), metric.name))
        return found


def look_up(runs: TrialRuns, planned: Sequence[Trial], sweep: Sweep, retry: Retry) -> StoredState:
    """What the store holds of the planned trials, and of those that a search has added before.

    A trial that another sweep has finished is taken over. Failed, infeasible and pruned ones
    are left as they are, unless `retry` says otherwise.
    """
    before = runs.before()
    standing = StoredState(runs, [*planned, *searched_before(before.values(), planned, sweep)])
    if retry.fresh:
        return standing
    wanted = {trial.id for trial in standing.trials}
    if retry.rerun:
        stale = [t for t in standing.trials if t.id in before and is_stale(before[t.id])]
        _set_aside(runs, stale, before)
        before = {i: run for i, run in before.items() if i not in {trial.id for trial in stale}}
    elsewhere = runs.store.finished_elsewhere(wanted - _finished(before))
    if retry.rerun:
        elsewhere = {i: run for i, run in elsewhere.items() if not is_stale(run)}
    for trial in standing.trials:
        if trial.id in elsewhere and elsewhere[trial.id].tags["pg.sweep"] != runs.sweep:
            runs.adopt(trial, elsewhere[trial.id])
            standing.finished[trial.id] = runs.store.look(runs.ids[trial.id])
            standing.told[trial.id] = "reused"
        elif trial.id in before:
            _judge(standing, trial, before[trial.id], retry, sweep)
    seconds = (run.tags.get("pg.seconds") for run in before.values())
    standing.spent_seconds = sum(float(each) for each in seconds if each)
    return standing


def refuse_other_sweep(store: Store, sweep: Sweep, planned: Sequence[Trial]) -> None:
    """ValueError where the store has runs under the sweep's name that have other settings."""
    before = trials_of(store, sweep.name)
    searched = searched_before(before, planned, sweep)
    refuse_other_settings(sweep.name, before, [*planned, *searched])


def forecast_of(store: Store, root: Path, experiments: Sequence[Experiment]) -> Forecast:
    """What the finished runs in the store, and the calibrations beside it, say of such trials."""
    shapes = dict.fromkeys(shape(experiment) for experiment in experiments)
    like = [run for each in shapes for run in store.finished_of_shape(each)]
    return Forecast.of(like, calibrations(root), lambda data: split_sizes(data)["train"])


def resources_of(sweep: Sweep, trials: Sequence[Trial], forecast: Forecast) -> Resources:
    """What each trial gets: what the file says, or by measured memory where that says `pack: auto`.

    A search has no trials yet: the shape of its base experiment stands for them. Raises ValueError
    where the memory of a shape was never measured.
    """
    resources = sweep.experiment.resources
    if sweep.file.resources.pack == "none":
        return resources
    shapes = {shape(t.experiment) for t in trials} or {shape(sweep.experiment)}
    return packed(resources, shapes, forecast.paces)


def foresee(runs: TrialRuns, standing: StoredState, forecast: Forecast) -> None:
    """Keep with the sweep what its trials are expected to take, to be compared at the end."""
    left = [t for t in standing.trials if t.id not in standing.told]
    seconds = [forecast.seconds(trial.experiment) for trial in left]
    known = [each.expected for each in seconds if each is not None]
    if left and len(known) == len(left):
        told = {"hours": sum(known) / 3600, "trials": [trial.id for trial in left]}
        assert runs.parent is not None, "only a sweep is foreseen"
        runs.store.put_text(runs.parent, FORECAST, json.dumps(told))


def _judge(standing: StoredState, trial: Trial, run: StoredRun, retry: Retry, sweep: Sweep) -> None:
    reason = run.tags.get("pg.stop_reason")
    if run.status == "FINISHED":
        standing.finished[trial.id] = run
        standing.told[trial.id] = "reused"
        return
    prunes = sweep.file.early_terminate.type != "none"
    kept = {
        "error": "failed" if not retry.failed else None,
        "infeasible": "infeasible" if not retry.infeasible else None,
        "pruned": "pruned" if prunes else None,
    }
    if (word := kept.get(reason or "")) is not None:
        standing.given_up.add(trial.id)
        standing.told[trial.id] = word


def _finished(before: Mapping[str, StoredRun]) -> set[str]:
    return {trial_id for trial_id, run in before.items() if run.status == "FINISHED"}


def is_stale(run: StoredRun) -> bool:
    """Whether `--rerun` runs it again: it is of other code, and has not failed."""
    failed = run.tags.get("pg.stop_reason") in ("error", "infeasible")
    return not failed and code_of(run) != code_identity()


def begin_afresh(
    sweep: Sweep, planned: Sequence[Trial], store: Store, folder: Callable[[str], Path]
) -> None:
    """Set the sweep aside as it is: its trials, their checkpoints, and its own run with its report.

    `folder` is where the checkpoints of a trial lie, by its id.
    """
    before = trials_of(store, sweep.name)
    for trial_id in {trial.id for trial in planned} | {run.tags["pg.trial_id"] for run in before}:
        _move_aside(store, trial_id, folder(trial_id))
    for run in [*before, *store.sweeps()]:
        if run.tags.get("pg.sweep") == sweep.name:
            store.set_aside(run.run_id)


def _set_aside(runs: TrialRuns, trials: Sequence[Trial], before: Mapping[str, StoredRun]) -> None:
    """Results of the trials go out of the way: runs out of the sweep, checkpoints beside it."""
    for trial in trials:
        _move_aside(runs.store, trial.id, runs.folder(trial))
        runs.supersede(before[trial.id])


def _move_aside(store: Store, trial_id: str, folder: Path) -> None:
    if folder.exists():
        aside = folder.with_name(f"{folder.name}.until-{int(time.time())}")
        shutil.move(folder, aside)
        store.moved(trial_id, folder, aside)
