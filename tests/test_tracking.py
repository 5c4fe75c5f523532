"""The store, on a real MLflow and a real sqlite file."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from pg_platform.store.client import Patience, StoreError, StoreUnavailableError
from pg_platform.store.mlflow_views import TAG, sweep_views
from pg_platform.store.store import Store
from pg_platform.store.table import Table
from tests.results import ACCURACY, LOSS, rows
from tests.small import environment

NAME = ACCURACY.name


@pytest.fixture
def experiment(store: Store, request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return store.experiment(request.node.name, ACCURACY)


def again(store: Store) -> Store:
    """The same store, as another process would open it."""
    return Store.open(store.artifacts.parent)


def trial_run(store: Store, experiment: str, parent: str | None, key: str) -> str:
    """A run with the tags of a trial."""
    tags = {"pg.kind": "trial", "pg.sweep": experiment, "pg.checkpoints": f"/trials/{key}"}
    return store.run(experiment, key, key, parent=parent, tags=tags)


def test_a_replayed_history_is_written_once(store: Store, experiment: str) -> None:
    run = store.run(experiment, "a", "a")
    store.log(run, rows(NAME, [0.1, 0.2, 0.3]))
    store.flush()
    with again(store) as other:
        other.log(run, rows(NAME, [0.9, 0.9, 0.9, 0.4]))
        other.log(run, rows(NAME, [0.9, 0.9, 0.9, 0.9, 0.5]))
    assert store.history(run, NAME) == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]
    by_images = [(100 * step, value) for step, value in store.history(run, NAME)]
    assert store.history(run, f"by_images/{NAME}") == by_images


def test_a_run_is_opened_again_not_made_again(store: Store, experiment: str) -> None:
    run = store.run(experiment, "a", "V=2", tags={"pg.device": "cpu"}, params={"lr": "1"})
    store.finish(run, "KILLED", "interrupted")
    with again(store) as other:
        params = {"lr": "2", "seed": "0"}
        assert other.run(experiment, "a", "V=2", tags={"pg.device": "gpu"}, params=params) == run
    (found,) = store.runs(experiment)
    assert (found.name, found.status, found.key) == ("V=2", "RUNNING", "a")
    assert found.params == {"lr": "1", "seed": "0"}
    assert (found.tags["pg.attempt"], found.tags["pg.device"]) == ("2", "gpu")
    assert "pg.stop_reason" not in found.tags


def test_a_run_has_all_its_params(store: Store, experiment: str) -> None:
    params = {f"section.key{i}": str(i) for i in range(250)}
    run = store.run(experiment, "a", "a", params=params)
    assert store.look(run).params == params


def test_orphans_are_closed_and_nothing_else(store: Store, experiment: str) -> None:
    parent = store.run(experiment, "sweep", "sweep", tags={"pg.kind": "sweep"})
    for key in ("done", "running", "kept"):
        trial_run(store, experiment, parent, key)
    done, running, kept = (run.run_id for run in store.trials(parent))
    store.finish(done, "FINISHED", "completed")
    assert store.close_orphans(parent, keep=["kept"]) == ["running"]
    assert store.look(running).status == "KILLED"
    assert store.look(running).tags["pg.orphaned"] == "true"
    assert (store.look(done).status, store.look(kept).status) == ("FINISHED", "RUNNING")
    assert "pg.orphaned" not in store.look(done).tags
    assert store.look(parent).status == "RUNNING"
    trial_run(store, experiment, parent, "running")
    assert "pg.orphaned" not in store.look(running).tags


def test_finished_runs_are_found_by_key(store: Store, experiment: str) -> None:
    for key, status in (("a", "FINISHED"), ("b", "FAILED"), ("c", "KILLED")):
        store.finish(store.run(experiment, key, key), status, "")  # type: ignore[arg-type]
    store.run(experiment, "d", "d")
    assert list(store.finished(experiment)) == ["a"]


def test_a_finished_run_has_its_last_and_best_value(store: Store, experiment: str) -> None:
    run = store.run(experiment, "a", "a")
    store.log(run, rows(NAME, [0.1, 0.6, 0.4]))
    store.finish(run, "FINISHED", "completed", headline=ACCURACY)
    found = store.look(run)
    assert (found.status, found.tags["pg.stop_reason"]) == ("FINISHED", "completed")
    assert found.metrics[NAME] == found.metrics[f"final/{NAME}"] == 0.4
    assert found.metrics[f"best/{NAME}"] == 0.6
    assert store.history(run, f"best/{NAME}") == [(0, 0.6)]


def test_the_best_loss_is_the_lowest(store: Store, experiment: str) -> None:
    run = store.run(experiment, "a", "a")
    store.log(run, rows(LOSS.name, [3.0, 1.0, 2.0]))
    store.finish(run, "FINISHED", "completed", headline=LOSS)
    assert store.look(run).metrics[f"best/{LOSS.name}"] == 1.0


def test_what_is_infinite_is_no_number(store: Store, experiment: str) -> None:
    run = store.run(experiment, "a", "a")
    store.log(run, rows(NAME, [math.inf, -math.inf, math.nan]))
    store.flush()
    assert all(math.isnan(value) for _, value in store.history(run, NAME))


def test_a_table_is_replaced_not_appended_to(store: Store, experiment: str) -> None:
    run = store.run(experiment, "a", "a")
    store.put_table(run, "tables/comparison", Table(("V", "mean"), ((2, 0.1), (8, 0.2))))
    store.put_table(run, "tables/comparison", Table(("V", "mean"), ((2, 0.3),)))
    store.put_table(run, "tables/other", Table(("a",), ((None,),)))
    assert json.loads(store.text(run, "tables/comparison.json")) == {
        "columns": ["V", "mean"],
        "data": [[2, 0.3]],
    }
    assert store.text(run, "tables/comparison.csv") == "V,mean\n2,0.3\n"
    assert store.text(run, "tables/comparison.md").startswith("| V | mean |")
    assert r"\begin{tabular}" in store.text(run, "tables/comparison.tex")
    listed = json.loads(store.look(run).tags["mlflow.loggedArtifacts"])
    assert listed == [
        {"path": "tables/comparison.json", "type": "table"},
        {"path": "tables/other.json", "type": "table"},
    ]


def test_a_changed_evaluation_is_shown_an_equal_one_not_repeated(
    store: Store, experiment: str
) -> None:
    run = store.run(experiment, "a", "a")
    for value in (0.5, 0.5, 0.25):
        store.put_evaluation(run, {"knn/top1": value})
    assert store.look(run).metrics["knn/top1"] == 0.25
    assert sorted(value for _, value in store.history(run, "knn/top1")) == [0.25, 0.5]


def test_trials_are_found_by_sweep_by_id_and_by_checkpoints(store: Store, experiment: str) -> None:
    a, b = (trial_run(store, experiment, None, f"{experiment}-{key}") for key in "ab")
    store.finish(a, "FINISHED", "completed")
    assert [run.run_id for run in store.finished_trials(experiment)] == [a]
    assert [run.run_id for run in store.finished_trials(a)] == [a]
    assert store.finished_trials(b) == []
    assert store.finished_trials("no such sweep") == []
    found = store.find_by_checkpoints(["/elsewhere", f"/trials/{experiment}-b"])
    assert found is not None
    assert found.run_id == b
    assert store.find_by_checkpoints(["/elsewhere"]) is None


def test_views_are_tags_of_the_experiment(store: Store, experiment: str) -> None:
    store.set_views(experiment, sweep_views(ACCURACY, ["speaker.vocab_size"]))
    tags = mlflow.MlflowClient(store.uri).get_experiment(experiment).tags
    assert {key.removeprefix(TAG) for key in tags if key.startswith(TAG)} == {
        *("pg-table", "pg-curves", "pg-parameters", "pg-language", "pg-images"),
        "pg-by-speaker.vocab_size",
    }
    assert tags["mlflow.experiment.primaryMetric.name"] == NAME


def test_files_lie_beside_the_database_and_readers_do_not_wait(
    store: Store, experiment: str
) -> None:
    run = store.run(experiment, "a", "a")
    store.put_text(run, "config/sweep.yaml", "name: x")
    (file,) = store.artifacts.glob(f"*/{run}/artifacts/config/sweep.yaml")
    assert file.read_text() == "name: x"
    assert store.database is not None
    with closing(sqlite3.connect(store.database)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_experiment_that_was_deleted_is_not_written_to(store: Store, experiment: str) -> None:
    mlflow.MlflowClient(store.uri).delete_experiment(experiment)
    name = mlflow.MlflowClient(store.uri).get_experiment(experiment).name
    with pytest.raises(StoreError, match="restore"):
        store.experiment(name, ACCURACY)


def test_a_run_that_was_deleted_is_told_of_at_the_end(store: Store, experiment: str) -> None:
    run = store.run(experiment, "a", "a")
    mlflow.MlflowClient(store.uri).delete_run(run)
    with again(store) as other:
        other.log(run, rows(NAME, [0.1]))
        with pytest.raises(StoreError, match=f"run {run}, 2 values"):
            other.flush()


def test_the_environment_names_another_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    with Store.open(tmp_path) as other:
        assert other.uri == store.uri
    assert not (tmp_path / "mlflow.db").exists()


def test_a_server_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1"):
        Store.open(tmp_path, Patience(total=0))


OPEN = """
from pathlib import Path
from pg_platform.sweep.load import Metric
from pg_platform.store.store import Store

with Store.open(Path({root!r})) as store:
    experiment = store.experiment("race", Metric.of("train/loss"))
    print(experiment, store.run(experiment, "same", "same"))
"""


def test_two_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OPEN.format(root=str(tmp_path / "new"))]
        return subprocess.Popen(
            command, env=environment(tmp_path), text=True, stdout=subprocess.PIPE
        )

    processes = [start(), start()]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert said[0] == said[1] != ""
