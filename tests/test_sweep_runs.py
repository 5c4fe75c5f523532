"""Sweeps on the real Ray into a real store: run, run again, extend, fail, stop, die."""

from __future__ import annotations

import csv
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pg_platform.config.paths import sweeps
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import is_collection, load_sweep
from pg_platform.training import checkpoint
from pg_platform.training.history import Journal
from tests.commands import in_header, run, start
from tests.small import write_experiment, write_sweep

SHIPPED = sorted(file for file in sweeps().glob("*.yaml") if not is_collection(file))


def trials(home: Path) -> dict[str, StoredRun]:
    """The finished trials of the small sweep, by name."""
    with Store.open(home) as store:
        return {stored.name: stored for stored in store.finished_trials("small")}


def table(home: Path) -> str:
    """The comparison table in the store."""
    with Store.open(home) as store:
        (parent,) = store.sweeps()
        return store.text(parent.run_id, "tables/comparison.csv")


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return once `true`; fail where the process ends before."""
    while not true():
        assert process.poll() is None, "the command ended before its time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A finished small sweep: its file, its store, what the command said."""
    folder = tmp_path_factory.mktemp("swept")
    file, home = write_sweep(folder, {}), folder / "home"
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 0, done.stderr
    return file, home, done.stdout


def test_a_sweep_leaves_a_run_for_every_trial(swept: tuple[Path, Path, str]) -> None:
    runs = trials(swept[1])
    assert sorted(runs) == ["V=2 seed=0", "V=2 seed=1", "V=8 seed=0", "V=8 seed=1"]
    for name, stored in runs.items():
        assert stored.params["speaker.vocab_size"] == name[2]
        assert stored.tags["pg.stop_reason"] == "completed"
        assert stored.tags["mlflow.source.name"] == f"pg-sweep {swept[0]}"
        assert {"pg.device", "pg.precision", "pg.data", "pg.version.torch"} <= stored.tags.keys()
        assert "val/top1_pool64" in stored.metrics


def test_the_printed_table_agrees_with_the_stored_one(swept: tuple[Path, Path, str]) -> None:
    with Store.open(swept[1]) as store:
        (parent,) = store.sweeps()
        stored = store.text(parent.run_id, "tables/comparison.md")
    head, _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in stored.splitlines()
        if line.startswith("|")  # a sentence that nothing was learned stands above
    )
    for line in lines:
        row = dict(zip(head, line, strict=True))
        interval = f"[{row['ci_low']}, {row['ci_high']}]"
        shared = [row["vocab_size"], row["n"], row["mean"], row["sd"], interval, row["difference"]]
        cells = " ".join([*shared, row["p"], row["verdict"], row["best"]]).split()
        assert cells in [printed.split() for printed in swept[2].splitlines()], line


def test_the_same_command_again_runs_nothing_and_a_longer_file_only_what_is_new(
    swept: tuple[Path, Path, str],
) -> None:
    file, home, _ = swept
    before = trials(home)
    again = run(["pg-sweep", str(file)], home)
    assert "4 trials: 0 run now, 4 finished before" in again.stdout, again.stderr
    longer = "parameters={speaker.vocab_size: {values: [2, 8, 32]}}"
    extended = run(["pg-sweep", str(file), "--set", longer], home)
    assert "6 trials: 2 run now, 4 finished before" in extended.stdout, extended.stderr
    after = trials(home)
    assert len(after) == 6
    assert {name: after[name].run_id for name in before} == {n: r.run_id for n, r in before.items()}
    assert all(after[name].tags["pg.attempt"] == "1" for name in after)


def test_a_trial_that_fails_spoils_no_other_and_the_exit_code_says_so(tmp_path: Path) -> None:
    changes = {
        "parameters": {"optimizer.lr": {"values": [1e-3, 1e30]}},
        "experiment": {"optimizer": {"kind": "sgd", "lr": 1e-3}},
        "seeds": 1,
    }
    file, home = write_sweep(tmp_path, changes), tmp_path / "home"
    file.write_text(
        file.read_text().replace("  speaker.vocab_size:\n    values:\n    - 2\n    - 8\n", "")
    )
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 1, done.stderr
    assert "FloatingPointError" in done.stderr
    assert list(trials(home)) == ["lr=0.001 seed=0"]
    assert ",1," in table(home).splitlines()[2]


@pytest.mark.slow
@pytest.mark.parametrize("grace", [False, True], ids=["kill -9", "Ctrl-C"])
def test_a_sweep_cut_off_ends_as_if_it_was_not(tmp_path: Path, *, grace: bool) -> None:
    """The driver goes when one trial is finished and others are under way."""
    file, home = write_sweep(tmp_path, {"experiment": {"epochs": 20}}), tmp_path / "home"
    process = start(["pg-sweep", str(file)], home)

    def under_way() -> bool:
        ended = (home / "stdout.txt").read_text().count("finished")
        begun = sum(any(folder.glob("step-*")) for folder in home.glob("trials/*"))
        return 1 <= ended < begun

    wait_until(under_way, process)
    process.send_signal(signal.SIGINT if grace else signal.SIGKILL)
    code = process.wait(timeout=120)
    assert code == (130 if grace else -signal.SIGKILL)
    before = trials(home)
    assert 1 <= len(before) < 4
    again = run(["pg-sweep", str(file)], home)
    assert again.returncode == 0, again.stderr
    assert f"{len(before)} finished before" in again.stdout
    after = trials(home)
    assert {n: after[n].run_id for n in before} == {n: r.run_id for n, r in before.items()}
    assert any(stored.tags["pg.attempt"] == "2" for stored in after.values())
    undisturbed = tmp_path / "undisturbed"
    assert run(["pg-sweep", str(file)], undisturbed).returncode == 0
    assert table(home) == table(undisturbed)
    with Store.open(home) as store:
        for stored in after.values():
            steps = [step for step, _ in store.history(stored.run_id, "train/loss")]
            assert steps == list(range(1, 21))


@pytest.mark.slow
def test_a_train_worker_killed_is_replaced_and_the_run_ends_as_if_it_was_not(
    tmp_path: Path,
) -> None:
    file, home = (
        write_experiment(tmp_path, {"epochs": 30, "resources": {"workers": 2}}),
        tmp_path / "h",
    )
    process = start(["pg-train", str(file)], home)
    wait_until(lambda: bool(list(home.glob("trials/*/step-*"))), process)
    worker = next(
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(child.cmdline())
    )
    os.kill(worker.pid, signal.SIGKILL)
    assert process.wait(timeout=280) == 0, (home / "stderr.txt").read_text()
    undisturbed = tmp_path / "undisturbed"
    assert run(["pg-train", str(file)], undisturbed).returncode == 0
    (ours,), (theirs,) = ((h / "trials").glob("*/metrics.jsonl") for h in (home, undisturbed))
    assert [r.epoch for r in Journal(ours).rows()] == list(range(1, 31))
    newest = [checkpoint.latest(path.parent) for path in (ours, theirs)]
    first, second = (checkpoint.load_weights(path) for path in newest if path)
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_sweep_that_ships_runs_in_its_small_form(file: Path, tmp_path: Path) -> None:
    """The last command of its header, `--scale small` where it has that, for one epoch."""
    command = [*in_header(file)[-1], "--set", "experiment.epochs=1", "--set", "seeds=1"]
    done = run(command, tmp_path, patience=800)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(table(tmp_path).splitlines()))
    assert len(rows) == len(load_sweep(file, []).points)
    assert {row["n"] for row in rows} == {"1"}


def test_two_drivers_of_one_sweep_are_refused(swept: tuple[Path, Path, str]) -> None:
    file, home, _ = swept
    with (home / "locks" / "small.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = run(["pg-sweep", str(file)], home)
    assert refused.returncode == 2
    assert "driven by another process" in refused.stderr
