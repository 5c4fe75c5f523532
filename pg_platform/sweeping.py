"""What the command pg-sweep does beside running: dry runs, and talk with a driver that runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Any

from pg_platform.cluster.control import Control, Request
from pg_platform.cluster.standing import (
    Retry,
    forecast_of,
    is_stale,
    refuse_other_sweep,
    resources_of,
)
from pg_platform.data.identity import identity
from pg_platform.data.sizes import check_sizes
from pg_platform.results.calibrations import keep_calibration
from pg_platform.results.dry_run import DryRun
from pg_platform.results.forecast import Pace, slots_on
from pg_platform.store.codes import before_adding, code_of
from pg_platform.store.runs import trials_of
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Sweep
from pg_platform.sweep.trials import Trial, plan, shape
from pg_platform.training.code import code_identity

CALIBRATION_STEPS = 6


def dry_run(
    sweep: Sweep, root: Path, retry: Retry, *, slots: int | None, calibrated: bool
) -> DryRun:
    """What the sweep would do now, and what that would cost; starts nothing.

    `calibrated` times a few steps of each shape that no finished run tells of.
    """
    trials = plan(sweep, identity)
    check_sizes(sweep.experiments)
    with closing(Store.open(root)) as store:
        look = _Look(sweep, root, retry, store, trials)
        dry = look.dry_run(slots)
        if calibrated:
            _calibrate(dry, root)
            dry = look.dry_run(slots)
    return dry


def refuse_other_sweeps(sweeps: Sequence[Sweep], root: Path) -> None:
    """ValueError where the store has runs of one of several sweeps with other settings."""
    with closing(Store.open(root)) as store:
        for sweep in sweeps:
            refuse_other_sweep(store, sweep, plan(sweep, identity))


def driven(root: Path, family: str) -> str:
    """Which of a sweep and its variants is meant where no --set says so.

    That is the one that runs, or else the one whose driver was there last. ValueError where
    several run, and the sweep as its file has it is none of them.
    """
    names = [n for n in Control.names(root) if n == family or n.startswith(f"{family} (")]
    told = {name: status for name in names if (status := Control(root, name).status())}
    running = [name for name, status in told.items() if status["running"]]
    if family in running or not told:
        return family
    if len(running) > 1:
        raise ValueError(f"{' and '.join(running)} run; say with --set which is meant")
    return running[0] if running else max(told, key=lambda name: float(told[name].get("time", 0)))


def status_lines(root: Path, sweep: str) -> Iterator[str]:
    """How a sweep that runs stands, a line a trial."""
    status = read_status(root, sweep)
    yield f"{sweep}: {'running' if status['running'] else 'not running'}"
    for trial in status["trials"]:
        told = (trial[part] for part in ("name", "state", "epoch", "value"))
        yield "  ".join(filter(None, told))


def read_status(root: Path, sweep: str) -> dict[str, Any]:
    """What the driver of a sweep said last; ValueError where there never was one."""
    status = Control(root, sweep).status()
    if status is None:
        raise ValueError(f"no driver has run the sweep {sweep} on this store yet")
    return status


def ask(root: Path, sweep: str, request: Request) -> None:
    """Ask something of the driver; ValueError where none runs, or it has no such trial."""
    trials = {trial["name"] for trial in read_status(root, sweep)["trials"]}
    if request.trial is not None and request.trial not in trials:
        known = ", ".join(sorted(trials))
        raise ValueError(f"{sweep} has no trial {request.trial!r}; it has {known}")
    Control(root, sweep).ask(request)


class _Look:
    """What the store says of the trials of a sweep, read once."""

    def __init__(
        self, sweep: Sweep, root: Path, retry: Retry, store: Store, trials: tuple[Trial, ...]
    ) -> None:
        self.sweep, self.root, self.retry, self.trials = sweep, root, retry, trials
        self.store = store
        if not retry.fresh:
            refuse_other_sweep(store, sweep, trials)
        runs = trials_of(store, sweep.name)
        self.before = {r.tags["pg.trial_id"]: r for r in runs if self._counts(r)}
        ids = {trial.id for trial in trials}
        elsewhere = {} if retry.fresh else store.finished_elsewhere(ids)
        self.elsewhere = {i: run for i, run in elsewhere.items() if self._counts(run)}

    def _counts(self, run: StoredRun) -> bool:
        """Whether a run of an earlier call stands as it is."""
        return not (self.retry.rerun and is_stale(run))

    def dry_run(self, slots: int | None) -> DryRun:
        experiments = [trial.experiment for trial in self.trials]
        forecast = forecast_of(self.store, self.root, experiments)
        resources = self.sweep.experiment.resources
        if not forecast.unknown(experiments):
            resources = resources_of(self.sweep, self.trials, forecast)
        finished = set() if self.retry.fresh else self._with("FINISHED")
        return DryRun(
            self.trials,
            reused=finished,
            shared={
                trial_id: run.tags["pg.sweep"]
                for trial_id, run in self.elsewhere.items()
                if trial_id not in finished and run.tags["pg.sweep"] != self.sweep.name
            },
            infeasible={} if self.retry.infeasible else self._infeasible(),
            failed=set() if self.retry.failed else self._with("FAILED"),
            forecast=forecast,
            slots=slots or slots_on(resources, os.cpu_count() or 1, _host_gib()),
            usd_per_gpu_hour=self.sweep.file.budget.usd_per_gpu_hour,
            warning=self._warning(finished),
        )

    def _warning(self, finished: Set[str]) -> str | None:
        """That what would run comes beside results of other code."""
        had = {i: run for i, run in self.elsewhere.items() if not self.retry.fresh}
        had |= {i: run for i, run in self.before.items() if i in finished}
        codes = {t.name: code_of(had[t.id]) for t in self.trials if t.id in had}
        stale = {name: code for name, code in codes.items() if code != code_identity()}
        adds = len(codes) < len(self.trials) or self.sweep.space is not None
        return before_adding(stale, code_identity()) if stale and adds else None

    def _with(self, status: str) -> set[str]:
        return {i for i, run in self.before.items() if run.status == status} - (
            set() if status == "FINISHED" else self._infeasible().keys()
        )

    def _infeasible(self) -> dict[str, str]:
        return {i: "out of memory" for i, run in self.before.items() if _is_infeasible(run)}


def _host_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _is_infeasible(run: StoredRun) -> bool:
    return run.tags.get("pg.stop_reason") == "infeasible"


def _calibrate(dry: DryRun, root: Path) -> None:
    from pg_platform.training.calibrate import calibrate

    for experiment in dry.unknown_shapes():
        if experiment.resources.workers == 1:
            found = calibrate(experiment, steps=CALIBRATION_STEPS)
            pace = Pace(
                found.images_per_s, found.device, "calibration", found.peak_gib, found.device_gib
            )
            keep_calibration(root, shape(experiment), pace)
