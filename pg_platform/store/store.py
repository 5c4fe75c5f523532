"""The store of results: the only file that talks to MLflow.

A store is a sqlite file with a folder of artifacts beside it, which can be moved (relocation.py),
or whatever MLFLOW_TRACKING_URI names. Runs are addressed by their ids only; MLflow's active run is
not used.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
import sqlite3
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

# MLflow reads these when it is imported. Its own retries stay short: the writer has patience.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow.entities
from alembic.util import CommandError
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from pg_platform.files import (
    locked,
    sqlite_error,
    what_fails,
    write_ahead,
    write_copy,
)
from pg_platform.store.client import Patience, StoreError, StoreUnavailableError
from pg_platform.store.metric_writer import (
    BATCH,
    Measurement,
    Writer,
    beyond,
    ends,
    measurements,
    milliseconds,
)
from pg_platform.store.mlflow_views import View, encode, read_by
from pg_platform.store.relocation import ARTIFACTS, CHECKPOINTS, follow
from pg_platform.store.stored_run import Ending, StoredRun
from pg_platform.store.table import Table
from pg_platform.sweep.load import Metric
from pg_platform.training.history import Row

NOTE_LIMIT = 8000  # characters of a tag's value; MLflow cuts what is longer
PATIENCE = Patience()
_PARAMS_PER_CALL = 100
_NOTHING: Mapping[str, str] = MappingProxyType({})
_Answer = TypeVar("_Answer")
DATABASE = "mlflow.db"
_LOCK = ".store.lock"

# A failed statement is logged there with its traceback; it is raised as StoreError here.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class Store:
    """Experiments, runs, metrics and files; `Store.open` makes one.

    Methods raise StoreError where the store refuses and StoreUnavailableError, which is one,
    where it does not answer. `log` raises neither: it only queues.
    """

    def __init__(self, uri: str, root: Path, patience: Patience, database: Path | None) -> None:
        """`database` is the file of a store that lies in `root`; None for one that lies elsewhere.

        Raises StoreError where MLflow cannot use it.
        """
        self.uri, self.root, self.database = uri, root, database
        self.artifacts = root / ARTIFACTS
        self._lock = root / _LOCK
        self._client = self._once(MlflowClient, uri)
        self._patience = patience
        self._writer = Writer(self._send, patience)
        self._repositories: dict[str, ArtifactRepository] = {}
        self._marks: dict[str, dict[str, int]] = {}

    @classmethod
    def open(
        cls,
        root: Path,
        patience: Patience = PATIENCE,
        say: Callable[[str], object] = lambda line: sys.stderr.write(f"{line}\n"),
    ) -> Store:
        """The store that MLFLOW_TRACKING_URI names, else `root`/mlflow.db, created if absent.

        Processes that open a new store at once wait for the first to create it. One that was
        moved is told through `say`. Raises InfrastructureError where there can be none.
        """
        root = root.resolve()
        with _holding(root):
            if uri := os.environ.get("MLFLOW_TRACKING_URI"):
                store = cls(uri, root, patience, None)
                store._ask(store._client.search_experiments, max_results=1)
                return store
            database = root / DATABASE
            if not database.exists() or not database.stat().st_size:
                _make(root, database)
            write_ahead(database)
            store = cls(uri_of(database), root, patience, database)
            store._once(store._client.search_experiments, max_results=1)
            if (told := store._once(follow, database)) is not None:
                say(told)
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def experiment(self, name: str, metric: Metric) -> str:
        """The id of the experiment called `name`, created if absent; `metric` is its first."""
        with locked(self._lock):
            found = self._ask(self._client.get_experiment_by_name, name)
            if found is None:
                return self._create_experiment(name, metric)
        if found.lifecycle_stage != "active":
            raise StoreError(
                f"experiment {name!r} was deleted in {self.uri}: restore it (mlflow experiments "
                f"restore --experiment-id {found.experiment_id}) or give the sweep another name"
            )
        for tag, value in _primary(metric).items():
            if found.tags.get(tag) != value:
                self._ask(self._client.set_experiment_tag, found.experiment_id, tag, value)
        return str(found.experiment_id)

    def find_experiment(self, name: str) -> str | None:
        """The id of the experiment called `name`; None where there is none."""
        found = self._ask(self._client.get_experiment_by_name, name)
        return None if found is None else str(found.experiment_id)

    def run(  # noqa: PLR0913 - three of them by keyword
        self,
        experiment_id: str,
        key: str,
        name: str,
        *,
        parent: str | None = None,
        tags: Mapping[str, str] = _NOTHING,
        params: Mapping[str, str] = _NOTHING,
    ) -> str:
        """The id of the run whose tag pg.key is `key`: opened again, or created as `name`.

        Opening again sets RUNNING, raises pg.attempt, replaces the tags and forgets how the last
        attempt ended; params that the run has stay.
        """
        with locked(self._lock):
            found = self.runs(experiment_id, {"pg.key": key})
            if found:
                run_id, attempt = found[0].run_id, int(found[0].tags["pg.attempt"]) + 1
                self._reopen(found[0])
            else:
                born = tags if parent is None else {**tags, "mlflow.parentRunId": parent}
                run_id, attempt = self._create_run(experiment_id, name, {**born, "pg.key": key}), 1
            self.tag(run_id, {**tags, "pg.attempt": str(attempt)})
        self._log_params(run_id, params, known=found[0].params if found else _NOTHING)
        return run_id

    def runs(self, experiment_id: str, tags: Mapping[str, str] = _NOTHING) -> list[StoredRun]:
        """The experiment's runs that carry all of `tags`, the oldest first."""
        return self._search([experiment_id], tags)

    def look(self, run_id: str) -> StoredRun:
        """The run as it stands."""
        return _stored(self._ask(self._client.get_run, run_id))

    def trials(self, sweep_run_id: str) -> list[StoredRun]:
        """The trials below a sweep's run, the oldest first."""
        tags = {"mlflow.parentRunId": sweep_run_id, "pg.kind": "trial"}
        return self.runs(self.look(sweep_run_id).experiment_id, tags)

    def sweeps(self) -> list[StoredRun]:
        """The sweeps' own runs in all experiments, the oldest first."""
        return self._search(self._experiments(), {"pg.kind": "sweep"})

    def sweeps_named(self, name: str) -> list[StoredRun]:
        """The own runs of the sweep called `name` and of its variants, the last that began last."""
        named = ("pg.sweep", "pg.family")
        found = [run for run in self.sweeps() if name in map(run.tags.get, named)]
        return sorted(found, key=lambda run: int(run.tags.get("pg.begun", "0")))

    def unfinished(self, trial_id: str) -> list[StoredRun]:
        """The runs of a trial that have not come to its end, in any sweep."""
        tags = {"pg.kind": "trial", "pg.trial_id": trial_id}
        return [r for r in self._search(self._experiments(), tags) if r.status != "FINISHED"]

    def finished(self, experiment_id: str) -> dict[str, StoredRun]:
        """The experiment's runs that ended FINISHED, by key."""
        runs = self.runs(experiment_id)
        return {run.key: run for run in runs if run.status == "FINISHED" and run.key is not None}

    def finished_trials(self, target: str) -> list[StoredRun]:
        """The finished trials that `target` names: a trial's run id, or a sweep by run id or name.

        Of several variants of a sweep those of the last one that has any.
        """
        done = [run for run in self._trials() if run.status == "FINISHED"]
        by_id = [r for r in done if target in (r.run_id, r.tags.get("mlflow.parentRunId"))]
        if by_id:
            return by_id
        variants = [run.tags.get("pg.sweep", "") for run in reversed(self.sweeps_named(target))]
        of_each = ([r for r in done if r.tags["pg.sweep"] == each] for each in [*variants, target])
        return next(filter(None, of_each), [])

    def finished_of_shape(self, shape: str) -> list[StoredRun]:
        """The finished trials, of any sweep, that are as fast as `shape` says, the oldest first."""
        found = self._search(self._experiments(), {"pg.kind": "trial", "pg.shape": shape})
        return [run for run in found if run.status == "FINISHED"]

    def finished_elsewhere(self, trial_ids: Collection[str]) -> dict[str, StoredRun]:
        """Finished trials of any sweep, by trial id; the first that finished."""
        runs = (r for r in self._trials() if r.status == "FINISHED")
        found: dict[str, StoredRun] = {}
        for run in runs:
            if run.tags["pg.trial_id"] in trial_ids and "pg.reused_run" not in run.tags:
                found.setdefault(run.tags["pg.trial_id"], run)
        return found

    def find_by_checkpoints(self, folders: Collection[str]) -> StoredRun | None:
        """The oldest trial whose checkpoints lie in one of `folders`; None where there is none."""
        found = (run for run in self._trials() if str(self.checkpoints(run)) in folders)
        return next(found, None)

    def checkpoints(self, trial: StoredRun) -> Path:
        """The folder where the checkpoints of a trial lie."""
        return self.root / trial.tags[CHECKPOINTS]

    def place(self, folder: Path) -> str:
        """How the store knows a folder: by its path below it, so that both can be moved."""
        inside = self.database is not None and folder.is_relative_to(self.root)
        return str(folder.relative_to(self.root) if inside else folder)

    def close_orphans(self, sweep_run_id: str, keep: Collection[str] = ()) -> list[str]:
        """Ends as KILLED the trials that a dead driver left running, except keys in `keep`.

        Returns the names of the runs it ended.
        """
        orphans = [
            run
            for run in self.trials(sweep_run_id)
            if run.status in ("RUNNING", "SCHEDULED") and run.key not in keep
        ]
        for run in orphans:
            self._orphan(run)
        return [run.name for run in orphans]

    def close_abandoned(self, is_driven: Callable[[str], bool]) -> list[str]:
        """Ends as KILLED the sweeps and trials, of the whole store, that dead drivers left running.

        `is_driven` tells by the name of a sweep or run whether a driver lives. Returns the names
        of the runs it ended.
        """
        with locked(self._lock):  # a driver that starts now opens its runs after this
            running = [
                run
                for kind in ("trial", "sweep")
                for run in self._search(self._experiments(), {"pg.kind": kind}, "RUNNING")
                if not is_driven(_driver(run))
            ]
            for run in running:
                self._orphan(run)
        return [run.name for run in running]

    def log(self, run_id: str, rows: Iterable[Row]) -> None:
        """Queues rows. A (metric, step) that the run has, or a lower step, is not written again.

        So a run may report its whole history anew after a crash. Infinite values become NaN.
        """
        self._writer.put(run_id, [value for row in rows for value in measurements(row)])

    def flush(self) -> None:
        """Waits until all queued rows are stored; StoreError says what is not."""
        self._writer.flush()

    def lose_patience(self) -> None:
        """From now on nothing is tried again: whoever calls is about to end."""
        self._patience = self._writer.patience = Patience(total=0)

    def close(self) -> None:
        """Flushes and ends the writing thread."""
        self._writer.close()

    def finish(
        self, run_id: str, status: Ending, reason: str, *, headline: Metric | None = None
    ) -> None:
        """Stores what is queued and ends the run, with `reason` as its tag pg.stop_reason.

        A `headline` metric leaves its last and best value as final/NAME and best/NAME, at step 0:
        MLflow draws those as bars.
        """
        if headline is not None:
            self.flush()
            self._writer.put(run_id, ends(self.history(run_id, headline.name), headline))
        self.flush()
        self._marks.pop(run_id, None)
        self.tag(run_id, {"pg.stop_reason": reason})
        self._ask(self._client.set_terminated, run_id, status)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run, replacing those it has."""
        entities = [mlflow.entities.RunTag(k, v) for k, v in _storable(tags).items()]
        self._ask(self._client.log_batch, run_id, tags=entities)

    def note(self, run_id: str, markdown: str) -> None:
        """Sets a run's description."""
        assert len(markdown) <= NOTE_LIMIT, f"a note of {len(markdown)} characters"
        self.tag(run_id, {"mlflow.note.content": markdown})

    def note_experiment(self, experiment_id: str, markdown: str) -> None:
        """Sets an experiment's description."""
        self._ask(self._client.set_experiment_tag, experiment_id, "mlflow.note.content", markdown)

    def put_evaluation(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Adds results of an evaluation, at step 0; one that differs from the stored is shown."""
        stored = self.look(run_id).metrics
        now = milliseconds()
        new = [
            _metric(Measurement(name, value, 0, now))
            for name, value in metrics.items()
            if name not in stored or stored[name] != value
        ]
        self._ask(self._client.log_batch, run_id, metrics=new)

    def put_bytes(self, run_id: str, path: str, content: bytes) -> None:
        """Writes a file of a run, such as "report/figure.png", replacing it."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary, name)
            file.write_bytes(content)
            self._ask(self._files(run_id).log_artifact, str(file), folder or None)

    def put_image(self, run_id: str, key: str, png: bytes, webp: bytes) -> None:
        """Shows a picture under `key` among those that MLflow compares across runs, replacing it.

        `webp` is the same in small. MLflow's own log_image gives the files of each call new names,
        so that repeated calls pile up; its page wants the form of the name alone.
        """
        form = f"images/{key.replace('/', '~')}+step+1+timestamp+0+{run_id}"
        self.put_bytes(run_id, f"{form}.png", png)
        self.put_bytes(run_id, f"{form}+compressed.webp", webp)
        self.tag(run_id, {"mlflow.loggedImages": "True"})

    def put_text(self, run_id: str, path: str, content: str) -> None:
        """Writes a text file of a run, such as "config/sweep.yaml", replacing it."""
        self.put_bytes(run_id, path, _written_out(content).encode())

    def text(self, run_id: str, path: str) -> str:
        """Reads a text file of a run."""
        with tempfile.TemporaryDirectory() as temporary:
            return Path(
                self._ask(self._files(run_id).download_artifacts, path, temporary)
            ).read_text()

    def find_text(self, run_id: str, path: str) -> str | None:
        """Reads a text file of a run; None where it has none."""
        folder = path.rpartition("/")[0]
        there = self._ask(self._files(run_id).list_artifacts, folder or None)
        return self.text(run_id, path) if path in {file.path for file in there} else None

    def put_table(self, run_id: str, path: str, table: Table) -> None:
        """Writes `path`.json for MLflow's table view, and as .csv, .md and .tex, replacing them."""
        forms = {
            "json": table.json(),
            "csv": table.csv(),
            "md": table.markdown() + "\n",
            "tex": table.latex() + "\n",
        }
        for suffix, content in forms.items():
            self.put_text(run_id, f"{path}.{suffix}", content)
        tag, entry = "mlflow.loggedArtifacts", {"path": f"{path}.json", "type": "table"}
        tags = self.look(run_id).tags
        listed = json.loads(tags[tag]) if tag in tags else []
        if entry not in listed:
            self.tag(run_id, {tag: json.dumps([*listed, entry])})

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All (step, value) of a metric, by step; empty where the run has none."""
        values = self._ask(self._client.get_metric_history, run_id, metric)
        return sorted((value.step, value.value) for value in values)

    def copy_metrics(self, source_run_id: str, run_id: str) -> None:
        """Gives a run all the metric values that another one has."""
        names = self.look(source_run_id).metrics
        for name in names:
            values = [
                Measurement(name, value, step, milliseconds())
                for step, value in self.history(source_run_id, name)
            ]
            for start in range(0, len(values), BATCH):
                self._send(run_id, values[start : start + BATCH])

    def moved(self, trial_id: str, folder: Path, place: Path) -> None:
        """Tells all runs of a trial whose checkpoints lay in `folder` that they lie in `place`."""
        for run in self._search(self._experiments(), {"pg.trial_id": trial_id}):
            if CHECKPOINTS in run.tags and self.checkpoints(run) == folder:
                self.tag(run.run_id, {CHECKPOINTS: self.place(place)})

    def set_aside(self, run_id: str) -> None:
        """Takes a run out of its sweep and frees its key; its metrics and files stay."""
        run = self.look(run_id)
        self.tag(
            run_id, {"pg.superseded_key": run.key or "", "pg.key": "", "pg.kind": "superseded"}
        )
        if "mlflow.parentRunId" in run.tags:
            self._ask(self._client.delete_tag, run_id, "mlflow.parentRunId")

    def set_views(self, experiment_id: str, views: Sequence[View]) -> None:
        """Saves views in an experiment: the first stands on top of MLflow's menu."""
        if not read_by(version("mlflow")):
            warnings.warn(
                f"saved views are not written: they were not tried in MLflow {version('mlflow')}",
                stacklevel=2,
            )
            return
        for tag, value in encode(views, milliseconds()).items():
            self._ask(self._client.set_experiment_tag, experiment_id, tag, value)

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Calls MLflow, again and again where it does not answer, as long as the patience lasts."""
        pause, deadline = self._patience.first, time.monotonic() + self._patience.total
        while True:
            try:
                return self._once(call, *arguments, **options)
            except StoreUnavailableError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, self._patience.longest)

    def _once(self, call: Callable[..., _Answer], *arguments: Any, **options: Any) -> _Answer:
        """Calls MLflow; its errors become ours, those that may pass marked as such."""
        try:
            return call(*arguments, **options)
        except (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error) as error:
            raise _ours(error, self.database) from error

    def _all_pages(self, search: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
        found, token = [], None
        while True:
            page = self._ask(search, *arguments, page_token=token, **options)
            found += page
            token = page.token
            if not token:
                return found

    def _search(
        self, experiment_ids: list[str], tags: Mapping[str, str], status: str | None = None
    ) -> list[StoredRun]:
        assert not any("'" in value for value in tags.values()), f"a quote in {tags}"
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        if status is not None:
            conditions.append(f"attributes.status = '{status}'")
        wanted = " and ".join(conditions)
        oldest_first = ["attributes.start_time ASC"]
        runs = self._all_pages(
            self._client.search_runs, experiment_ids, wanted, order_by=oldest_first
        )
        return [_stored(run) for run in runs]

    def _trials(self) -> list[StoredRun]:
        return self._search(self._experiments(), {"pg.kind": "trial"})

    def _experiments(self) -> list[str]:
        return [found.experiment_id for found in self._all_pages(self._client.search_experiments)]

    def _create_experiment(self, name: str, metric: Metric) -> str:
        tags = {"mlflow.experimentKind": "custom_model_development", **_primary(metric)}
        place = None if self.uri.startswith("http") else (self.artifacts / name).as_uri()
        return str(self._ask(self._client.create_experiment, name, place, tags))

    def _create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
        run = self._ask(self._client.create_run, experiment_id, run_name=name, tags=_storable(tags))
        return str(run.info.run_id)

    def _files(self, run_id: str) -> ArtifactRepository:
        """Where the files of a run lie; MLflow's own cache takes a run for that of any store."""
        if run_id not in self._repositories:
            place = self._ask(self._client.get_run, run_id).info.artifact_uri
            self._repositories[run_id] = get_artifact_repository(place, tracking_uri=self.uri)
        return self._repositories[run_id]

    def _orphan(self, run: StoredRun) -> None:
        self.tag(run.run_id, {"pg.orphaned": "true", "pg.stop_reason": "driver died"})
        self._ask(self._client.set_terminated, run.run_id, "KILLED")

    def _reopen(self, run: StoredRun) -> None:
        for ended in {"pg.stop_reason", "pg.orphaned"} & run.tags.keys():
            self._ask(self._client.delete_tag, run.run_id, ended)
        self._ask(self._client.update_run, run.run_id, "RUNNING")

    def _log_params(self, run_id: str, params: Mapping[str, str], known: Mapping[str, str]) -> None:
        new = [mlflow.entities.Param(k, v) for k, v in params.items() if k not in known]
        for start in range(0, len(new), _PARAMS_PER_CALL):
            chunk = new[start : start + _PARAMS_PER_CALL]
            self._ask(self._client.log_batch, run_id, params=chunk)

    def _send(self, run_id: str, values: Sequence[Measurement]) -> None:
        if run_id not in self._marks:
            stored = self._once(self._client.get_run, run_id).data.to_proto().metrics
            self._marks[run_id] = {metric.key: metric.step for metric in stored}
        new, marks = beyond(values, self._marks[run_id])
        self._once(self._client.log_batch, run_id, metrics=[_metric(value) for value in new])
        self._marks[run_id] = marks


def uri_of(database: Path) -> str:
    """The URI of a sqlite file, whatever characters its path has.

    It names the driver: of a URI without one MLflow makes the folder that its text spells.
    """
    return URL.create("sqlite+pysqlite", database=str(database)).render_as_string()


@contextmanager
def _holding(root: Path) -> Iterator[None]:
    """Alone in the folder of a store, made if absent, while it is opened."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / _LOCK):
            yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        remedy = "make room there" if full else "let this user write there"
        raise StoreError(
            f"{error.filename or root}: {str(error.strerror or error).lower()}; the store of "
            f"results is to lie there: {remedy}, or name another folder with PG_HOME"
        ) from error


def _make(root: Path, database: Path) -> None:
    """Makes an empty store aside, then puts it in its place whole: half a one cannot be mended."""
    aside = root / ".new-store"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        half, whole = aside / "half.db", aside / "whole.db"
        write_ahead(half)
        MlflowClient(uri_of(half)).search_experiments(max_results=1)
        write_copy(half, whole)
        os.replace(whole, database)
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        raise _ours(error, database) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _ours(error: Exception, database: Path | None) -> StoreError:
    """What MLflow says of the store at `database`, None for one elsewhere, in a line."""
    said = str(error).strip().partition("\n")[0]
    status = error.get_http_status_code() if isinstance(error, MlflowException) else 400
    kind = StoreUnavailableError if status >= 500 or status == 429 else StoreError
    if database is None:
        return kind(said)
    if (below := sqlite_error(error)) is not None:
        return kind(what_fails(database, below))
    if isinstance(error, CommandError) or "database schema" in said:
        why = said.partition(". Take")[0]
        return StoreError(
            f"{database}: MLflow {version('mlflow')} cannot use it ({why}). Where a newer MLflow "
            "wrote it, use that one; where an older one did, make a copy, then: "
            f"mlflow db upgrade '{uri_of(database)}'"
        )
    return kind(said)


def _driver(run: StoredRun) -> str:
    """The name under which a trial or sweep is driven: a trial of no sweep by its own id."""
    single = run.tags["pg.kind"] == "trial" and "mlflow.parentRunId" not in run.tags
    return f"{run.tags['pg.sweep']}-{run.tags['pg.trial_id']}" if single else run.tags["pg.sweep"]


def _storable(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: _written_out(value) for key, value in tags.items()}


def _written_out(text: str) -> str:
    """The text with what is no character of UTF-8, as parts of a file's name, written out."""
    return text.encode(errors="backslashreplace").decode()


def _primary(metric: Metric) -> dict[str, str]:
    """The experiment's tags by which MLflow knows its first metric, and the good end of it."""
    return {
        "mlflow.experiment.primaryMetric.name": metric.name,
        "mlflow.experiment.primaryMetric.greaterIsBetter": str(metric.goal == "maximize"),
    }


def _stored(run: Any) -> StoredRun:
    tags = dict(run.data.tags)
    return StoredRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        key=tags.get("pg.key"),
        name=run.info.run_name,
        status=run.info.status,
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        tags=tags,
    )


def _metric(value: Measurement) -> Any:
    finite = value.value if math.isfinite(value.value) else math.nan  # MLflow stores inf as 1.8e308
    return mlflow.entities.Metric(value.metric, finite, value.time, value.step)
