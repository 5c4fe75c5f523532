"""What a sweep would do and cost, before anything starts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pg_platform.config.experiment import Experiment
from pg_platform.data.identity import identity
from pg_platform.data.sizes import check_sizes
from pg_platform.driver.control import Control
from pg_platform.driver.forecast import Cost, Forecast, Interval, clock, cost_of, slots_on
from pg_platform.driver.resume import (
    Retry,
    forecast_of,
    is_stale,
    refuse_other_sweep,
    resources_of,
)
from pg_platform.driver.speeds import Pace, keep_calibration
from pg_platform.store.codes import before_adding, code_of
from pg_platform.store.runs import trials_of
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Sweep
from pg_platform.sweep.trials import Trial, plan, shape
from pg_platform.training.code import code_identity


@dataclass(frozen=True)
class DryRun:
    """The plan of a sweep against what the store holds; sets and mappings go by trial id.

    `shared` names the sweep that has finished a trial, `infeasible` the reason why a trial
    cannot run. `slots` trials run at a time, None: not known. `usd_per_gpu_hour` None: no price.
    """

    trials: Sequence[Trial]
    reused: Collection[str]
    shared: Mapping[str, str]
    infeasible: Mapping[str, str]
    failed: Collection[str]
    forecast: Forecast
    slots: int | None
    usd_per_gpu_hour: float | None
    warning: str | None = None
    """What has to be known before it starts."""

    def listing(self) -> Iterator[str]:
        """A warning where there is one, a line per trial and then the summary."""
        if self.warning is not None:
            yield self.warning
        width = max((len(trial.name) for trial in self.trials), default=0)
        for trial in self.trials:
            line = f"{trial.name:<{width}}  {trial.id}  {self._told(trial)}"
            if self.runs(trial):
                seconds = self._seconds[trial.id]
                line += f"  {'unknown' if seconds is None else spread(seconds)}"
            yield line
        yield from self._summary()

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values: `trials` in the order of the plan, `counts`, `cost`."""
        return {
            "trials": [self._plain(trial) for trial in self.trials],
            "points": len({trial.group for trial in self.trials}),
            "seeds": len({trial.seed for trial in self.trials}),
            "counts": dict(self._counts()),
            "slots": self.slots,
            "cost": asdict(self.cost()),
            "without_forecast": self._without_forecast(),
            "shapes_to_calibrate": len(self.unknown_shapes()),
            "warning": self.warning,
        }

    def runs(self, trial: Trial) -> bool:
        """Whether the trial would start now."""
        return self._fate(trial) == "run"

    def unknown_shapes(self) -> list[Experiment]:
        """One experiment of each shape that would run and has no forecast: to be calibrated."""
        unknown = [t.experiment for t in self._to_run if self._seconds[t.id] is None]
        return self.forecast.unknown(unknown)

    def cost(self) -> Cost:
        """What would start now, as far as it has a forecast."""
        expected = [
            (trial.experiment.resources, seconds)
            for trial in self._to_run
            if (seconds := self._seconds[trial.id]) is not None
        ]
        return cost_of(expected, slots=self.slots, usd_per_gpu_hour=self.usd_per_gpu_hour)

    @cached_property
    def _to_run(self) -> list[Trial]:
        return [trial for trial in self.trials if self.runs(trial)]

    @cached_property
    def _seconds(self) -> dict[str, Interval | None]:
        """Of the trials that would run, by their ids."""
        return {trial.id: self.forecast.seconds(trial.experiment) for trial in self._to_run}

    def _fate(self, trial: Trial) -> str:
        if trial.id in self.reused:
            return "reused"
        if trial.id in self.shared:
            return "shared"
        if trial.id in self.infeasible:
            return "infeasible"
        return "failed" if trial.id in self.failed else "run"

    def _told(self, trial: Trial) -> str:
        match self._fate(trial):
            case "shared":
                return f"reused from sweep {self.shared[trial.id]}"
            case "infeasible":
                return f"infeasible: {self.infeasible[trial.id]}"
            case "failed":
                return "failed before: will not be retried without --retry-failed"
            case fate:
                return fate

    def _counts(self) -> Counter[str]:
        return Counter(self._fate(trial) for trial in self.trials)

    def _without_forecast(self) -> int:
        return sum(seconds is None for seconds in self._seconds.values())

    def _plain(self, trial: Trial) -> dict[str, Any]:
        plain = {"name": trial.name, "id": trial.id, "will": self._fate(trial)}
        if self._fate(trial) != "run":
            return {**plain, "told": self._told(trial)}
        seconds = self._seconds[trial.id]
        basis = self.forecast.basis(trial.experiment)
        return {**plain, "seconds": seconds and asdict(seconds), "basis": basis or None}

    def _summary(self) -> Iterator[str]:
        points = len({trial.group for trial in self.trials})
        seeds = len({trial.seed for trial in self.trials})
        yield f"{points} points x {seeds} seeds = {len(self.trials)} trials: " + ", ".join(
            f"{count} {fate}" for fate, count in self._counts().items()
        )
        missing, runs = self._without_forecast(), len(self._to_run)
        if missing:
            yield (
                f"{missing} of {runs} trials to run have no forecast: no trial of their "
                f"{len(self.unknown_shapes())} shapes was measured; --calibrate times a few steps"
            )
        if runs > missing:
            yield from self._amounts(runs - missing)

    def _amounts(self, known: int) -> Iterator[str]:
        cost = self.cost()
        yield f"forecast of {known} trials (95 %), from {', '.join(self._bases())}:"
        yield f"  CPU-hours  {amount(cost.cpu_hours)}"
        yield f"  GPU-hours  {amount(cost.gpu_hours)}"
        if cost.wall_s is None:
            yield "  wall time  unknown: say with --slots N how many trials run at once"
        else:
            yield f"  wall time  {spread(cost.wall_s)} on {self.slots} slots"
        if cost.usd is not None:
            yield f"  dollars    {amount(cost.usd)}"

    def _bases(self) -> list[str]:
        bases = dict.fromkeys(self.forecast.basis(trial.experiment) for trial in self._to_run)
        return [basis for basis in bases if basis]


def spread(seconds: Interval) -> str:
    """`4m 10s (3m 2s to 5m 20s)`."""
    return f"{clock(seconds.expected)} ({clock(seconds.low)} to {clock(seconds.high)})"


def amount(some: Interval) -> str:
    """`1.25 (0.9 to 1.6)`."""
    return f"{some.expected:.3g} ({some.low:.3g} to {some.high:.3g})"


CALIBRATION_STEPS = 6


def dry_run(
    sweep: Sweep, root: Path, retry: Retry, *, slots: int | None, calibrated: bool
) -> DryRun:
    """What the sweep would do now, and what that would cost; starts nothing.

    `calibrated` times a few steps of each shape that no finished run tells of.
    """
    trials = plan(sweep, identity)
    check_sizes(sweep.experiments)
    check_custom(sweep.experiments)
    with closing(Store.open(root)) as store:
        look = _Look(sweep, root, retry, store, trials)
        dry = look.dry_run(slots)
        if calibrated:
            _calibrate(dry, root)
            dry = look.dry_run(slots)
    return dry


def check_custom(experiments: Sequence[Experiment]) -> None:
    """Try what comes from outside the package; without such a class nothing is imported for it."""
    if any(any(experiment.custom()) for experiment in experiments):
        from pg_platform import methods

        methods.check_custom(experiments)


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
