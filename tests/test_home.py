"""One home, one store: whatever its name, whoever copied or moved it, and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
import pytest

from pg_platform.config.errors import InfrastructureError
from pg_platform.config.experiment import Resources
from pg_platform.driver.control import Control
from pg_platform.driver.driver import run_sweep
from pg_platform.driver.local import LocalExecutor
from pg_platform.driver.scheduler import Scheduler
from pg_platform.files import driver_lock, is_held, locked, only_driver
from pg_platform.store.store import Store
from pg_platform.sweep.load import load_sweep
from tests.commands import BIN, run, start
from tests.results import ACCURACY
from tests.small import environment, write_experiment, write_sweep
from tests.small_sweeps import wait_until

ODD = "50%25 a?1 #b é"
DATABASE = "mlflow.db"


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds one run, trained; its folder has an odd name."""
    folder = tmp_path_factory.mktemp("homes")
    done = run(["pg-train", str(experiment(folder)), "--local"], folder / ODD)
    assert done.returncode == 0, done.stderr
    return folder / ODD


@pytest.fixture
def home(trained_home: Path, tmp_path: Path) -> Path:
    """A copy of it that is known where it lies."""
    shutil.copytree(trained_home, tmp_path / "h1")
    Store.open(tmp_path / "h1", say=lambda _: None).close()
    return tmp_path / "h1"


def experiment(folder: Path) -> Path:
    wide = {"rank": {"width": 16}}
    changes = {"epochs": 1, "speaker": wide, "listener": {"vision": {"width": 16}}}
    return write_experiment(folder, changes)


def content(folder: Path) -> dict[str, str]:
    """Hashes of all files but locks, by path."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith(("lock", "-shm"))
    }


def run_id(home: Path) -> str:
    with Store.open(home) as store:
        (found,) = store.finished_trials("train")
        return found.run_id


def written(home: Path) -> list[str]:
    """The files of artifacts, by path."""
    return [str(f.relative_to(home)) for f in (home / "artifacts").rglob("*") if f.is_file()]


def refused(home: Path, code: int, folder: Path, *wrapped: str) -> str:
    """What a dry run says that finds no store there: one line of error, nothing else."""
    command = [*wrapped, str(BIN / "pg-sweep"), str(write_sweep(folder, {})), "--dry-run"]
    done = subprocess.run(
        command, env=environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


def test_the_folder_of_a_store_may_have_any_name(trained_home: Path) -> None:
    """And no part of it becomes another folder, or another store's."""
    assert {p.name for p in trained_home.parent.iterdir()} == {ODD, "small.yaml"}
    found = {str(p.relative_to(trained_home)) for p in trained_home.glob("trials/*")}
    with Store.open(trained_home) as store:
        (trial,) = store.finished_trials("train")
        assert trial.tags["pg.checkpoints"] in found
        store.put_text(trial.run_id, "words/hello.txt", "hello")
        assert store.text(trial.run_id, "words/hello.txt") == "hello"
    assert any(path.endswith("words/hello.txt") for path in written(trained_home))
    other = trained_home.with_name(ODD.replace("1", "2"))
    with Store.open(other) as store:
        assert store.finished_trials("train") == []
    shutil.rmtree(other)


def test_a_relative_home_is_meant_from_the_current_folder(home: Path) -> None:
    file = write_sweep(home.parent, {})
    (home.parent / "link").symlink_to(home.parent)
    done = subprocess.run(
        [str(BIN / "pg-sweep"), str(file), "--dry-run"],
        env=environment(Path("link/h1")),
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {p.name for p in home.parent.iterdir()} == {"h1", "link", file.name}


def test_a_copy_writes_nothing_into_the_original(home: Path, tmp_path: Path) -> None:
    copy, trial = tmp_path / "h2", run_id(home)
    with Store.open(home) as store:
        store.put_text(trial, "words/hello.txt", "hello")
    shutil.copytree(home, copy)
    before = content(home)
    done = run(["pg-eval", "form", trial], copy)
    assert done.returncode == 0, done.stderr
    assert f"{copy}: moved or copied from {home}" in done.stderr
    assert content(home) == before
    assert any("/form/" in path for path in written(copy))
    with Store.open(copy) as store:
        assert store.text(trial, "words/hello.txt") == "hello"


def test_a_moved_store_is_whole_and_its_old_place_is_not_made_again(home: Path) -> None:
    trial, moved, told = run_id(home), home.with_name("h3"), list[str]()
    with Store.open(home) as store:
        store.put_text(trial, "words/hello.txt", "hello")
    home.rename(moved)
    with Store.open(moved, say=told.append) as store:
        assert store.text(trial, "words/hello.txt") == "hello"
        store.put_text(trial, "words/again.txt", "again")
        folder = store.checkpoints(store.look(trial))
        assert (folder.parent, folder.is_dir()) == (moved / "trials", True)
        assert store.find_by_checkpoints([str(folder)]) == store.look(trial)
    assert not home.exists()
    assert [str(home) in line and str(moved) in line for line in told] == [True]
    with Store.open(moved, say=told.append):
        assert len(told) == 1


def test_what_was_left_at_the_old_place_is_read_there(home: Path) -> None:
    trial, copy = run_id(home), home.with_name("h2")
    with Store.open(home) as store:
        store.put_text(trial, "words/hello.txt", "hello")
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("artifacts"))
    with Store.open(copy, say=lambda _: None) as store:
        assert store.text(trial, "words/hello.txt") == "hello"
        assert store.checkpoints(store.look(trial)).is_relative_to(copy)


def as_it_was_written(home: Path) -> None:
    """Rewrite a store as the platform wrote it at a6b1c03: with paths from the root."""
    with closing(sqlite3.connect(home / DATABASE)) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, 'file://', '')")
        database.execute(
            "UPDATE experiments SET artifact_location = '/else/mlruns/0' WHERE experiment_id = 0"
        )
        database.execute(
            "UPDATE tags SET value = ? || '/' || value WHERE key = 'pg.checkpoints'", [str(home)]
        )


@pytest.mark.parametrize("name", ["h1", "h4"])
def test_an_old_store_is_mended_where_it_lies(home: Path, name: str) -> None:
    trial, place, told = run_id(home), home.with_name(name), list[str]()
    with Store.open(home) as store:
        store.put_text(trial, "words/hello.txt", "hello")
    as_it_was_written(home)
    home.rename(place)
    with Store.open(place, say=told.append) as store:
        assert store.checkpoints(store.look(trial)).is_dir()
        assert not Path(store.look(trial).tags["pg.checkpoints"]).is_absolute()
        assert store.text(trial, "words/hello.txt") == "hello"
        assert store.experiment("patchgame/train", ACCURACY) == store.look(trial).experiment_id
    assert len(told) == 1
    assert str(place) in told[0]
    assert {p.name for p in home.parent.iterdir()} == {name}


def test_a_store_that_a_driver_uses_under_another_name_is_left_alone(home: Path) -> None:
    copy = home.with_name("h2")
    shutil.copytree(home, copy)
    lock = driver_lock(copy, "lr")
    with locked(lock), pytest.raises(InfrastructureError, match="lr runs on this store"):
        Store.open(copy)
    with Store.open(copy, say=lambda _: None) as store:
        assert store.artifacts.parent == copy


def garbage(home: Path) -> None:
    (home / DATABASE).write_bytes(os.urandom(50_000))


def cut_short(home: Path) -> None:
    with (home / DATABASE).open("r+b") as file:
        file.truncate(300_000)


def overwritten(home: Path) -> None:
    with (home / DATABASE).open("r+b") as file:
        file.seek(8192)
        file.write(200_000 * b"\xaa")


def of_a_newer_mlflow(home: Path) -> None:
    with closing(sqlite3.connect(home / DATABASE)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


def lacking_tables_of_another_mlflow(home: Path) -> None:
    of_a_newer_mlflow(home)
    with closing(sqlite3.connect(home / DATABASE)) as database, database:
        database.execute("DROP TABLE webhooks")


def a_folder(home: Path) -> None:
    (home / DATABASE).unlink()
    (home / DATABASE).mkdir()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (garbage, "not a database.*put a copy back"),
        (cut_short, "malformed.*put a copy back"),
        (overwritten, "malformed.*put a copy back"),
        (of_a_newer_mlflow, "version ffffffffffff.*mlflow db upgrade"),
        (lacking_tables_of_another_mlflow, "ffffffffffff.*mlflow db upgrade"),
        (a_folder, "unable to open.*PG_HOME"),
    ],
)
def test_a_damaged_database_is_named(
    trained_home: Path, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    home = tmp_path / "damaged"  # not opened before: a process asks for the schema once
    shutil.copytree(trained_home, home)
    damage(home)
    with pytest.raises(InfrastructureError, match=f"^{re.escape(str(home / DATABASE))}: .*{told}"):
        Store.open(home)


def test_a_damaged_database_is_one_line_and_exit_4(home: Path, tmp_path: Path) -> None:
    cut_short(home)
    assert refused(home, 4, tmp_path).startswith(f"{home / DATABASE}: ")


def test_a_database_that_is_held_is_named(home: Path) -> None:
    with closing(sqlite3.connect(home / DATABASE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InfrastructureError, match=r"mlflow\.db: .*locked.*another process"):
            Store.open(home)


def test_a_home_that_cannot_be_a_folder_is_a_wrong_value(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"PG_HOME={home}: {tmp_path / 'file'} is a file" in refused(home, 2, tmp_path)
    assert "PG_HOME='~nobody-of-that-name'" in refused(Path("~nobody-of-that-name"), 2, tmp_path)


def on_a_disk(home: Path, options: str) -> list[str]:
    """A command before another that gives `home` a disk of its own; skips where there is none."""
    home.mkdir()
    script = f'mount -t tmpfs -o {options} disk {home} && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets no test mount a disk of its own")
    return command


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("ro", "read-only.*let this user write there"),
        ("size=4k", "full.*make room"),
        ("size=300k", "full.*make room"),
    ],
)
def test_a_disk_without_room_or_leave_is_named(tmp_path: Path, options: str, told: str) -> None:
    home = tmp_path / "home"
    line = refused(home, 4, tmp_path, *on_a_disk(home, options))
    assert re.search(f"^{re.escape(str(home))}/.*{told}", line), line


def test_a_store_that_was_not_made_to_its_end_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    (tmp_path / ".new-store").mkdir()
    (tmp_path / ".new-store" / "half.db").write_bytes(b"half")
    with Store.open(tmp_path) as store:
        assert store.sweeps() == []
    assert not (tmp_path / ".new-store").exists()


@pytest.mark.parametrize(
    "text", ["{}", "[]", "{", "\xff", '{"running": true, "pid": 1, "trials": [{}]}']
)
def test_a_status_without_its_fields_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "control" / "small" / "status.json"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="latin-1")
    with pytest.raises(InfrastructureError, match=rf"^{re.escape(str(file))}: .*delete it"):
        Control(tmp_path, "small").status()


def test_a_status_without_its_fields_is_one_line_and_exit_4(tmp_path: Path) -> None:
    file = tmp_path / "control" / "small" / "status.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    for option in ("--status", "--stop"):
        done = run(["pg-sweep", str(write_sweep(tmp_path, {})), option], tmp_path)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith(f"error: {file}: ")
        assert len(done.stderr.splitlines()) == 1


def test_a_copied_store_has_no_driver(tmp_path: Path) -> None:
    original = Control(tmp_path / "h1", "small")
    original.open()
    original.write({"running": True, "trials": []}, now=True)
    shutil.copytree(tmp_path / "h1", tmp_path / "h2")
    status = Control(tmp_path / "h2", "small").status()
    assert status is not None
    assert not status["running"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_pages_close_what_a_killed_driver_left_and_show_a_moved_store(
    tmp_path: Path, trained_home: Path
) -> None:
    home = tmp_path / ODD
    shutil.copytree(trained_home, home)
    trial = run_id(home)
    with Store.open(home) as store:
        store.put_text(trial, "words/hello.txt", "hello")
    file = write_sweep(tmp_path, {"experiment": {"epochs": 400}})
    driver = start(["pg-sweep", str(file)], home)
    wait_until(lambda: bool(list(home.glob("trials/*/step-*"))[1:]), driver)
    driver.kill()
    driver.wait()
    moved = home.rename(tmp_path / "moved #1")
    port = free_port()
    pages = start(["pg-ui", "--port", str(port)], moved)
    try:
        out = moved / "stdout.txt"
        wait_until(lambda: "Hyperparameters" in out.read_text(), pages)
        assert "closed, as their driver has died: " in out.read_text()
        query = urlencode({"path": "words/hello.txt", "run_uuid": trial})
        with urlopen(f"http://127.0.0.1:{port}/get-artifact?{query}", timeout=60) as page:
            assert page.read() == b"hello"
    finally:
        children = psutil.Process(pages.pid).children(recursive=True)
        for process in (psutil.Process(pages.pid), *children):
            process.terminate()
        pages.wait(30)
    with Store.open(moved) as store:
        (parent,) = store.sweeps()
        assert (parent.status, parent.tags["pg.stop_reason"]) == ("KILLED", "driver died")
        assert {run.status for run in store.trials(parent.run_id)} == {"KILLED"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class SpoilsTheReport(LocalExecutor):
    """Trains, then puts a file where the folder of the sweep's tables is."""

    def run(self, scheduler: Scheduler, resources: Resources, control: Control) -> None:
        super().run(scheduler, resources, control)
        (tables,) = self.root.glob("artifacts/patchgame/*/*/artifacts/tables")
        shutil.rmtree(tables)
        tables.touch()


def test_a_sweep_whose_driver_fails_in_its_last_step_does_not_stay_running(tmp_path: Path) -> None:
    changes = {
        "experiment": {
            "epochs": 1,
            "speaker": {"rank": {"width": 16}},
            "listener": {"vision": {"width": 16}},
        },
        "parameters": {"speaker.vocab_size": {"values": [2]}},
        "seeds": 1,
    }
    sweep = load_sweep(write_sweep(tmp_path, changes), (), None)
    home = tmp_path / "home"
    with Store.open(home) as store:
        with pytest.raises(OSError, match="tables"):
            run_sweep(sweep, home, store, SpoilsTheReport(home))
        (parent,) = store.sweeps()
        assert parent.status == "FAILED"
        assert "driver failed" in parent.tags["pg.stop_reason"]
        (home / "artifacts").joinpath(
            "patchgame", "small", parent.run_id, "artifacts", "tables"
        ).unlink()
        run_sweep(sweep, home, store, LocalExecutor(home))
        (parent,) = store.sweeps()
        assert (parent.status, parent.tags["pg.stop_reason"]) == ("FINISHED", "completed")


def test_runs_of_dead_drivers_are_closed_and_no_others(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        experiment = store.experiment("patchgame/lr", ACCURACY)
        runs = dict[str, str]()
        for sweep in ("dead", "alive"):
            tags = {"pg.sweep": sweep, "pg.kind": "sweep"}
            parent = store.run(experiment, f"sweep/{sweep}", f"sweep {sweep}", tags=tags)
            tags = {"pg.sweep": sweep, "pg.kind": "trial", "pg.trial_id": f"{sweep}1"}
            runs[f"sweep {sweep}"] = parent
            runs[sweep] = store.run(experiment, f"{sweep}/1", sweep, parent=parent, tags=tags)
        for trial in ("gone", "here"):
            tags = {"pg.sweep": "train", "pg.kind": "trial", "pg.trial_id": trial}
            runs[trial] = store.run(experiment, f"train/{trial}", trial, tags=tags)
        done = store.run(experiment, "dead/2", "done", tags={**tags, "pg.trial_id": "done"})
        store.finish(done, "FINISHED", "completed")
        with only_driver(tmp_path, "alive"), only_driver(tmp_path, "train-here"):
            closed = store.close_abandoned(lambda name: is_held(driver_lock(tmp_path, name)))
        assert set(closed) == {"sweep dead", "dead", "gone"}
        assert {name: store.look(each).status for name, each in runs.items()} == {
            **dict.fromkeys(("sweep dead", "dead", "gone"), "KILLED"),
            **dict.fromkeys(("sweep alive", "alive", "here"), "RUNNING"),
        }
        assert store.look(runs["dead"]).tags["pg.stop_reason"] == "driver died"
        assert store.look(done).status == "FINISHED"
