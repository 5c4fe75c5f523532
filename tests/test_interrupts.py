"""Signals, closed pipes and a Ray that is not there: each command ends properly, or goes on."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from tests.commands import BIN, run, start
from tests.small import environment, write_experiment
from tests.small_sweeps import reasons, runs, sweep, vocabularies, wait_until

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 130}
LONG = 100_000
"""Epochs that no test waits for."""
TOLD_SECONDS = 30


def trained(home: Path) -> StoredRun:
    """The only run of a store."""
    with Store.open(home) as store:
        (found,) = store.runs(store.find_experiment("patchgame/train") or "", {"pg.kind": "trial"})
    return found


def has_checkpoint(home: Path) -> bool:
    return bool(list(home.glob("trials/*/step-*")))


def checkpoints(home: Path) -> set[str]:
    return {path.name for path in home.glob("trials/*/step-*")}


@pytest.mark.parametrize("name", CODES)
def test_a_signal_lets_a_run_checkpoint_and_return(tmp_path: Path, name: str) -> None:
    file, home = write_experiment(tmp_path, {"epochs": LONG}), tmp_path / "home"
    process = start(["pg-train", str(file), "--local"], home)
    wait_until(partial(has_checkpoint, home), process)
    before = checkpoints(home)
    process.send_signal(signal.Signals[name])
    assert process.wait(timeout=60) == CODES[name]
    assert max(checkpoints(home)) > max(before)
    stored = trained(home)
    assert (stored.status, stored.tags["pg.stop_reason"]) == ("KILLED", "interrupted")
    assert "the same command goes on" in (home / "stderr.txt").read_text()


def test_a_signal_before_anything_runs_ends_the_command(tmp_path: Path) -> None:
    """While the store is made: there is no trial yet, and no run of it."""
    file, home = write_experiment(tmp_path, {"epochs": LONG}), tmp_path / "home"
    process = start(["pg-train", str(file), "--local"], home)
    wait_until((home / ".store.lock").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == CODES["SIGTERM"]
    assert "Traceback" not in (home / "stderr.txt").read_text()


def test_a_hangup_that_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    file, home = write_experiment(tmp_path, {"epochs": LONG}), tmp_path / "home"
    ignoring = ["sh", "-c", f"trap '' HUP; exec {BIN / 'pg-train'} {file} --local"]
    with subprocess.Popen(ignoring, env=environment(home), stderr=subprocess.PIPE, text=True) as it:
        wait_until(partial(has_checkpoint, home), it)
        it.send_signal(signal.SIGHUP)
        before = checkpoints(home)
        wait_until(lambda: max(checkpoints(home)) > max(before), it)
        it.send_signal(signal.SIGTERM)
        assert it.wait(timeout=60) == CODES["SIGTERM"]


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_a_command_goes_on_without_its_screen(tmp_path: Path, closed: str) -> None:
    """The reader of a pipe ends before anything is written to it."""
    file, home = write_experiment(tmp_path, {"epochs": 1}), tmp_path / "home"
    both: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [str(BIN / "pg-train"), str(file), "--local"]
    with subprocess.Popen(command, env=environment(home), **both) as process:
        for name in ("stdout", "stderr"):
            if closed in (name, "both"):
                getattr(process, name).close()
        assert process.wait(timeout=120) == 0
    assert trained(home).status == "FINISHED"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that is there already."""
    home = tmp_path_factory.mktemp("used")
    Store.open(home).close()
    return home


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["pg-train", "--show-recipe", "paper"], 0),
        (["pg-sweep", "smoke", "--dry-run"], 0),
        (["pg-report", "smoke"], 2),
        (["pg-eval", "knn", "nothing"], 2),
        (["pg-pack", "no_file.yaml", "dest"], 2),
        (["pg-sweep", "--help"], 0),
    ],
    ids=["train", "sweep", "report", "eval", "pack", "help"],
)
def test_the_exit_code_is_that_of_the_command_whoever_reads(
    tmp_path: Path, used: Path, arguments: list[str], code: int
) -> None:
    """Its own with nobody at the other end of both pipes, and with both closed from the start."""
    command = " ".join([str(BIN / arguments[0]), *arguments[1:]])
    for form in (f"{command} >&- 2>&-", f"{{ {command} 2>&1; echo $? >{tmp_path}/code; }} | :"):
        (tmp_path / "code").unlink(missing_ok=True)
        done = subprocess.run(["sh", "-c", form], env=environment(used), check=False)
        file = tmp_path / "code"
        assert (int(file.read_text()) if file.exists() else done.returncode) == code


def test_a_cluster_that_refuses_is_told_at_once(tmp_path: Path) -> None:
    file, home = sweep(tmp_path, {})
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(["pg-sweep", str(file), "--address", address], home)
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"no Ray cluster answers at {address}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_host_that_accepts_and_says_nothing_is_no_cluster(tmp_path: Path) -> None:
    """Ray itself waits for minutes, and says so in its C++ log alone."""
    file, home = sweep(tmp_path, {})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run(["pg-sweep", str(file), "--address", address], home, patience=120)
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"the Ray cluster at {address} did not let this command in" in done.stderr


def under_way(tmp_path: Path, changes: dict[str, Any]) -> tuple[subprocess.Popen[str], Path]:
    """A sweep whose trials train, and the folder of its store; it has a session of its own."""
    file, home = sweep(tmp_path, {"experiment": {"epochs": LONG, **changes}})
    process = start(["pg-sweep", str(file)], home)
    wait_until(partial(has_checkpoint, home), process)
    return process, home


def of_ray(driver: subprocess.Popen[str], name: str) -> psutil.Process:
    """A process of the private cluster of a driver."""
    children = psutil.Process(driver.pid).children(recursive=True)
    return next(child for child in children if child.name() == name)


def assert_ended(home: Path, code: int, why: Collection[str] = ("interrupted",)) -> None:
    """No run is left open, and --status knows that no driver runs."""
    with Store.open(home) as store:
        (parent,) = store.sweeps()
    assert (parent.status, parent.tags["pg.stop_reason"]) == ("KILLED", "interrupted"), code
    assert {stored.status for stored in runs(home).values()} == {"KILLED"}
    found = set(reasons(home).values())
    assert found
    assert found <= set(why)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_ray_dying_is_told_and_the_same_command_goes_on(tmp_path: Path, name: str) -> None:
    process, home = under_way(tmp_path, {})
    of_ray(process, name).kill()
    assert process.wait(timeout=TOLD_SECONDS) == 4
    told = (home / "stderr.txt").read_text()
    assert told.count("\n") == 1, told
    assert told.startswith("error: Ray")
    assert "the same command goes on" in told
    assert_ended(home, 4)
    file = str(tmp_path / "small_sweep.yaml")
    assert "small: not running" in run(["pg-sweep", file, "--status"], home).stdout
    assert run(["pg-sweep", file, "--stop"], home).returncode == 2


@pytest.mark.slow
def test_a_signal_to_the_whole_job_leaves_checkpoints(tmp_path: Path) -> None:
    """SLURM and a closed terminal send it to each process, those of Ray too."""
    process, home = under_way(tmp_path, {})
    before = checkpoints(home)
    driver = psutil.Process(process.pid)
    for child in [driver, *driver.children(recursive=True)]:
        child.send_signal(signal.SIGTERM)
    assert process.wait(timeout=90) == CODES["SIGTERM"]
    assert max(checkpoints(home)) > max(before)
    assert_ended(home, CODES["SIGTERM"])
    assert "the same command goes on" in (home / "stderr.txt").read_text()


@pytest.mark.slow
def test_a_trial_that_does_not_return_is_left_behind_after_the_grace_time(tmp_path: Path) -> None:
    process, home = under_way(tmp_path, {"checkpoints": {"grace_seconds": 3.0}})
    for child in psutil.Process(process.pid).children(recursive=True):
        if "ImplicitFunc" in " ".join(child.cmdline()):
            child.suspend()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=TOLD_SECONDS) == CODES["SIGTERM"]
    assert_ended(home, CODES["SIGTERM"])


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    process, home = under_way(tmp_path, {"checkpoints": {"grace_seconds": 3600.0}})
    for child in psutil.Process(process.pid).children(recursive=True):
        if "ImplicitFunc" in " ".join(child.cmdline()):
            child.suspend()
    process.send_signal(signal.SIGUSR1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=TOLD_SECONDS) == CODES["SIGUSR1"]
    assert_ended(home, CODES["SIGUSR1"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
@pytest.mark.parametrize("by", ["Ctrl-C", "--stop"])
def test_a_driver_ends_when_asked_also_where_ray_stands_still(
    tmp_path: Path, name: str, by: str
) -> None:
    process, home = under_way(tmp_path, {"checkpoints": {"grace_seconds": 8.0}})
    of_ray(process, name).suspend()
    if by == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        assert run(["pg-sweep", str(tmp_path / "small_sweep.yaml"), by], home).returncode == 0
    assert process.wait(timeout=TOLD_SECONDS + 15) == CODES["SIGINT"]
    asked = () if by == "Ctrl-C" else ("asked to stop",)
    assert_ended(home, CODES["SIGINT"], ("interrupted", *asked))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 13.0])
def test_a_signal_at_any_moment_of_the_start_ends_properly(tmp_path: Path, seconds: float) -> None:
    """While libraries are imported, the store made, the trials planned, Ray started."""
    file, home = sweep(tmp_path, {"parameters": vocabularies(2), "seeds": 1})
    process = start(["pg-sweep", str(file), "--set", f"experiment.epochs={LONG}"], home)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in (CODES["SIGTERM"], -signal.SIGTERM)
    assert "Traceback" not in (home / "stderr.txt").read_text()
    assert run(["pg-sweep", str(file)], home).returncode == 0
