"""The runs of trials in the store: opened once, continued after a crash, closed with a reason."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pg_platform.config.experiment import Data
from pg_platform.data.identity import identity
from pg_platform.store.client import StoreError
from pg_platform.store.codes import code_of, joined
from pg_platform.store.mlflow_views import sweep_views
from pg_platform.store.provenance import provenance
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Metric, Sweep
from pg_platform.sweep.trials import Trial, shape, trials_of_point
from pg_platform.training.code import code_identity
from pg_platform.training.history import Row

SOURCE = "config/sweep.yaml"
"""What was asked, on the sweep's run: a file that loads as the sweep, whatever was set."""


RESUMED_OLDER, EVALUATED_OLDER = "pg.resumed_older", "pg.evaluated_older"
"""The tags of a run that went on from, or was evaluated at, a checkpoint before its damaged newest.
"""


@dataclass
class TrialRuns:
    """Trials by their MLflow runs, under the parent run of a sweep or under none."""

    store: Store
    experiment_id: str
    sweep: str
    metric: Metric
    parent: str | None
    folder: Callable[[Trial], Path]
    """Where the checkpoints of a trial lie."""
    ids: dict[str, str] = field(default_factory=dict)
    """Run ids of the trials opened so far, by trial id."""
    opened: dict[str, float] = field(default_factory=dict)
    """When trials began that have no checkpoint to go on from: monotonic seconds, by trial id."""
    images: dict[str, int] = field(default_factory=dict)
    """Images seen by the last row, by trial id."""
    codes: dict[str, str] = field(default_factory=dict)
    """The code that made the checkpoints from which trials go on, by trial id."""

    @classmethod
    def of_sweep(cls, store: Store, sweep: Sweep, folder: Callable[[Trial], Path]) -> Self:
        """The runs of a sweep's trials, its own run opened, a dead driver's leavings closed."""
        experiment_id = store.experiment(f"patchgame/{sweep.name}", sweep.metric.base)
        parent = store.run(
            experiment_id,
            f"sweep/{sweep.name}",
            f"sweep {sweep.name}",
            tags={
                **provenance(),
                "pg.kind": "sweep",
                "pg.sweep": sweep.name,
                "pg.family": sweep.family,
                "pg.recipe": str(sweep.file.recipe),
                "pg.begun": str(time.time_ns()),
            },
        )
        runs = cls(
            store,
            experiment_id,
            sweep=sweep.name,
            metric=sweep.metric,
            parent=parent,
            folder=folder,
        )
        with runs.closing():
            store.close_orphans(parent)
            store.put_text(parent, SOURCE, sweep.source)
            store.set_views(experiment_id, sweep_views(sweep.metric.base, list(sweep.parameters)))
        return runs

    @classmethod
    def found(cls, store: Store, sweep: Sweep, folder: Callable[[Trial], Path]) -> Self:
        """The runs of a sweep that was driven before, left as they are; ValueError for none."""
        experiment_id = store.find_experiment(f"patchgame/{sweep.name}")
        kept = [] if experiment_id is None else store.runs(experiment_id, {"pg.kind": "sweep"})
        if experiment_id is None or not kept:
            raise ValueError(f"{store.uri} holds no run of the sweep {sweep.name}; pg-sweep first")
        return cls(store, experiment_id, sweep.name, sweep.metric, kept[0].run_id, folder)

    @classmethod
    def of_single(
        cls, store: Store, name: str, metric: Metric, folder: Callable[[Trial], Path]
    ) -> Self:
        """The runs of trials that belong to no sweep, in the experiment patchgame/`name`."""
        experiment_id = store.experiment(f"patchgame/{name}", metric)
        return cls(store, experiment_id, sweep=name, metric=metric, parent=None, folder=folder)

    def key(self, trial: Trial) -> str:
        """What identifies a trial's run in the store for ever."""
        return f"{self.sweep}/{trial.id}"

    def finished(self, trials: Sequence[Trial]) -> dict[str, str]:
        """Run ids by trial id, of those `trials` that the store holds as finished."""
        done = self.store.finished(self.experiment_id)
        return {t.id: done[self.key(t)].run_id for t in trials if self.key(t) in done}

    def open(self, trial: Trial) -> str:
        """The run of `trial`, created or taken up again."""
        self.opened.pop(trial.id, None)
        if not any(self.folder(trial).glob("step-*")):
            self.opened[trial.id] = time.monotonic()
        elif unfinished := self.store.unfinished(trial.id):
            self.codes[trial.id] = joined(map(code_of, unfinished))
        code = joined(filter(None, [self.codes.get(trial.id), code_identity()]))
        self.ids[trial.id] = self.store.run(
            self.experiment_id,
            self.key(trial),
            trial.name,
            parent=self.parent,
            tags={
                **provenance(),
                "pg.kind": "trial",
                "pg.sweep": self.sweep,
                "pg.trial_id": trial.id,
                "pg.group": trial.group,
                "pg.seed": str(trial.seed),
                "pg.choice": json.dumps(trial.choice),
                "pg.data": trial.data_hash,
                "pg.shape": shape(trial.experiment),
                "pg.code": code,
                "pg.checkpoints": self.store.place(self.folder(trial)),
            },
            params=flat(trial.experiment.model_dump(mode="json")) | flat(trial.point),
        )
        return self.ids[trial.id]

    def tag(self, trial: Trial, facts: Mapping[str, str]) -> None:
        """Add facts known only where the trial runs: device, precision, code.

        The code of a trial that goes on is that of its checkpoint too.
        """
        known = dict(facts)
        if "code" in facts and trial.id in self.codes:
            known["code"] = joined([self.codes[trial.id], facts["code"]])
        self.store.tag(self.ids[trial.id], {f"pg.{name}": value for name, value in known.items()})

    def warn(self, trial: Trial, told: str) -> None:
        """The trial went on from an older checkpoint than its newest, for a reason."""
        self.store.tag(self.ids[trial.id], {RESUMED_OLDER: told})

    def log(self, trial: Trial, rows: Sequence[Row]) -> None:
        """Queue rows, at least one, for the store's writer."""
        self.images[trial.id] = rows[-1].images
        self.store.log(self.ids[trial.id], rows)

    def finish(self, trial: Trial) -> None:
        """The trial came to its last epoch."""
        run_id = self.ids[trial.id]
        self.store.tag(run_id, self._took(trial))
        self.store.finish(run_id, "FINISHED", "completed", headline=self.metric.base)

    def close(self, trial: Trial, reason: str) -> None:
        """The trial was asked to stop, for a reason, and left a checkpoint."""
        self.store.finish(self.ids[trial.id], "KILLED", reason)

    def _took(self, trial: Trial) -> dict[str, str]:
        """The seconds of a trial that ran in one go, for forecasts; nothing for a resumed one."""
        if trial.id not in self.opened:
            return {}
        seconds = time.monotonic() - self.opened[trial.id]
        return {"pg.seconds": f"{seconds:.3f}", "pg.images": str(self.images[trial.id])}

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Whatever ends the driver in here, the sweep's own run does not stay RUNNING."""
        try:
            yield
        except BaseException as error:
            self.store.lose_patience()  # it may be what failed
            with suppress(StoreError):
                self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        assert self.parent is not None, "only a sweep has a run of its own"
        if self.store.look(self.parent).status != "RUNNING":
            return
        self.store.close_orphans(self.parent)
        if isinstance(error, KeyboardInterrupt):
            self.store.finish(self.parent, "KILLED", "interrupted")
        else:
            said = str(error).strip().partition("\n")[0]
            self.store.finish(self.parent, "FAILED", f"driver failed: {said or type(error)}")

    def close_sweep(self, *, failed: bool, interrupted: bool) -> None:
        """The sweep's own run ends as its trials did; waits until all rows are stored."""
        assert self.parent is not None, "only a sweep has a run of its own"
        if interrupted:
            self.store.finish(self.parent, "KILLED", "interrupted")
        else:
            self.store.finish(self.parent, "FINISHED", "some failed" if failed else "completed")

    def cut_off(self) -> None:
        """The call ends before its time; the sweep's own run says so, where there is one."""
        if self.parent is not None:
            self.close_sweep(failed=False, interrupted=True)

    def fail(self, trial: Trial, error: str, reason: Literal["error", "infeasible"]) -> None:
        """The trial failed; its traceback becomes an artifact."""
        run_id = self.ids.get(trial.id) or self.open(trial)
        self.store.put_text(run_id, "error.txt", error)
        self.store.finish(run_id, "FAILED", reason)

    def before(self) -> dict[str, StoredRun]:
        """The sweep's trials of earlier calls, by trial id."""
        return {run.tags["pg.trial_id"]: run for run in trials_of(self.store, self.sweep)}

    def adopt(self, trial: Trial, source: StoredRun) -> None:
        """Take over a trial that another sweep has finished: its metrics, told as reused."""
        run_id = self.open(trial)
        self.store.copy_metrics(source.run_id, run_id)
        kept = {k: v for k, v in source.tags.items() if k in {"pg.device", "pg.precision"}}
        kept["pg.code"] = code_of(source)
        origin = {"pg.reused_from": source.tags["pg.sweep"], "pg.reused_run": source.run_id}
        self.store.tag(run_id, kept | origin)
        self.store.finish(run_id, "FINISHED", f"reused from {source.tags['pg.sweep']}")

    def supersede(self, run: StoredRun) -> None:
        """Set a run aside: it stays in the store, and belongs to no sweep any more."""
        self.store.set_aside(run.run_id)


def trials_of(store: Store, sweep: str) -> list[StoredRun]:
    """The runs of the trials of the sweep called `sweep`, the oldest first; none set aside."""
    found = store.find_experiment(f"patchgame/{sweep}")
    runs = [] if found is None else store.runs(found, {"pg.kind": "trial"})
    return [run for run in runs if run.tags["pg.sweep"] == sweep]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and texts of a nested config, as MLflow's params want them."""
    params: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        params |= flat(value, f"{key}.") if isinstance(value, dict) else {key: str(value)}
    return params


def searched_before(
    before: Iterable[StoredRun],
    planned: Sequence[Trial],
    sweep: Sweep,
    identity: Callable[[Data], str] = identity,
) -> list[Trial]:
    """Trials that a search has added in earlier calls, all seeds of each point."""
    if sweep.space is None:
        return []
    known = {trial.group for trial in planned}
    found: dict[str, list[Trial]] = {}
    for run in before:
        choice = json.loads(run.tags.get("pg.choice", "{}"))
        if choice and run.tags["pg.group"] not in known | found.keys():
            point = sweep.space.point(choice)
            if point is not None:
                trials = trials_of_point(sweep, point, identity, choice)
                found[run.tags["pg.group"]] = trials
    return [trial for trials in found.values() for trial in trials]


FORECAST = "report/forecast.json"
