"""pg-train --local: the process that trains dies, is asked to stop, loses its command."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pg_platform.store.store import Store
from tests.commands import BIN, PATIENCE, run
from tests.small import environment, write_experiment
from tests.small_sweeps import wait_until

LONG = {"epochs": 2000}


@contextmanager
def started(file: Path, home: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """The command and the process that trains, once that has written a checkpoint."""
    command = subprocess.Popen(
        [str(BIN / "pg-train"), str(file), "--local"],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: bool(list(home.glob("trials/*/step-*"))), command)
        beside = psutil.Process(command.pid).children()
        (training,) = (each for each in beside if "own_process" in " ".join(each.cmdline()))
        yield command, training
    finally:
        command.kill()
        command.communicate()


def ended(home: Path) -> tuple[str, str]:
    """Status and stop reason of the only run."""
    with Store.open(home) as store:
        experiment = store.find_experiment("patchgame/train")
        assert experiment is not None
        (stored,) = store.runs(experiment, {"pg.kind": "trial"})
    return stored.status, stored.tags["pg.stop_reason"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_process_that_dies_of_a_signal_fails_its_run_with_that_word(
    tmp_path: Path, number: signal.Signals
) -> None:
    file, home = write_experiment(tmp_path, LONG), tmp_path / "home"
    with started(file, home) as (command, training):
        training.send_signal(number)
        _, told = command.communicate(timeout=PATIENCE)
    assert command.returncode == 1
    assert f"killed by {number.name}" in told
    assert "Traceback" not in told
    assert ended(home) == ("FAILED", "error")


def test_a_ctrl_c_reaches_both_and_is_heard_once(tmp_path: Path) -> None:
    """A terminal sends it to the whole group."""
    file, home = write_experiment(tmp_path, LONG), tmp_path / "home"
    with started(file, home) as (command, training):
        os.killpg(command.pid, signal.SIGINT)
        _, told = command.communicate(timeout=PATIENCE)
    assert command.returncode == 130, told
    assert not training.is_running()
    assert ended(home) == ("KILLED", "interrupted")


def test_a_process_that_loses_its_command_leaves_a_checkpoint_and_ends(tmp_path: Path) -> None:
    file, home = write_experiment(tmp_path, LONG), tmp_path / "home"
    with started(file, home) as (command, training):
        command.kill()
    psutil.wait_procs([training], timeout=PATIENCE)
    assert not training.is_running()


def test_what_died_is_taken_up_from_its_checkpoint(tmp_path: Path) -> None:
    file, home = write_experiment(tmp_path, {"epochs": 40}), tmp_path / "home"
    with started(file, home) as (command, training):
        training.send_signal(signal.SIGSEGV)
        command.communicate(timeout=PATIENCE)
    assert run(["pg-train", str(file), "--local"], home).returncode == 0
    assert ended(home) == ("FINISHED", "completed")
