"""The report of a sweep while drivers are stopped and killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pg_platform.driver.control import Control
from tests.commands import run, start
from tests.local_sweeps import kept, play, sweeps, trials, written
from tests.small_sweeps import wait_until


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_finished_sweep_keeps_its_report_whatever_ends_the_next_call(tmp_path: Path) -> None:
    file, home = written(tmp_path), tmp_path / "home"
    play(file, home)
    before = kept(home, "small")
    more = ["pg-sweep", str(file), "--set", "seeds=[5, 6]"]
    for end in (signal.SIGKILL, signal.SIGINT):
        process = start(more, home)
        control = Control(home, "small")
        wait_until(lambda: bool((control.status() or {}).get("running")), process)  # noqa: B023
        process.send_signal(end)
        assert process.wait(timeout=200) != 0
        assert kept(home, "small") == before
        assert run(["pg-report", str(file)], home).returncode == 0
        assert kept(home, "small") == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_settings_run_one_after_the_other_as_a_user_gives_them(tmp_path: Path) -> None:
    file, home = written(tmp_path), tmp_path / "home"
    for epochs in (2, 3):
        done = run(["pg-sweep", str(file), "--set", f"experiment.epochs={epochs}"], home)
        assert done.returncode == 0, done.stderr
        assert "2 trials: 2 run now" in done.stdout
    assert list(sweeps(home)) == ["small (epochs=2)", "small (epochs=3)"]
    assert all(len(trials(home, name)) == 2 for name in sweeps(home))
    told = run(["pg-report", str(file)], home)
    assert told.returncode == 0
    assert "sweep: small (epochs=3)" in told.stdout
    assert "trials finished" not in told.stdout
    again = run(["pg-sweep", str(file), "--set", "experiment.epochs=2"], home)
    assert "2 trials: 0 run now, 2 finished before" in again.stdout
