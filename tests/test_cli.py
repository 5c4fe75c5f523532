"""The commands as a stranger meets them: help, mistakes, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pg_platform.cli.evaluate import evaluate
from pg_platform.cli.pack import pack
from pg_platform.cli.report import report
from pg_platform.cli.sweep import sweep
from pg_platform.cli.train import train
from pg_platform.cli.ui import ui
from pg_platform.config.experiment import Experiment
from pg_platform.config.paths import sweeps
from pg_platform.driver.control import Control
from pg_platform.driver.live_table import LiveTable, Output
from pg_platform.store.store import Store
from pg_platform.training.history import Heartbeat, Row
from pg_platform.training.loop import train as train_loop
from pg_platform.training.worker import local_worker
from tests.commands import BIN, run, start
from tests.local_sweeps import trials, written
from tests.results import vocabularies
from tests.scheduling import Clock
from tests.small import SMALL, environment, write_experiment, write_sweep
from tests.small_sweeps import wait_until

HEAVY = {"torch", "ray", "mlflow", "pandas", "numpy", "scipy", "sklearn", "matplotlib"}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", ["--help"]),
        ("sweep", ["--help"]),
        ("evaluate", ["--help"]),
        ("ui", ["--help"]),
        ("pack", ["--help"]),
        ("pack", ["no_such_file.yaml", "pack"]),
        ("pack", ["examples/digits.yaml"]),
        ("sweep", ["no_such_sweep"]),
        ("sweep", ["smoke", "--status", "--stop"]),
        ("sweep", ["--list"]),
        ("train", ["--version"]),
        ("train", ["no_such_file.yaml"]),
        ("sweep", ["smoke", "--set", "experiment.epochs=many"]),
    ],
)
def test_help_and_mistakes_need_no_heavy_library(command: str, arguments: list[str]) -> None:
    program = (
        "import json, sys\n"
        "from click.testing import CliRunner\n"
        f"from pg_platform.cli.{command} import {command}\n"
        f"result = CliRunner().invoke({command}, {arguments!r})\n"
        "print(json.dumps([result.exit_code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == (0 if arguments[0] in ("--help", "--list", "--version") else 2)
    assert not HEAVY & set(modules)


def test_an_unknown_sweep_lists_those_there_are(tmp_path: Path) -> None:
    done = run(["pg-sweep", "vocab_sise"], tmp_path)
    assert done.returncode == 2
    assert "vocab_size.yaml" in done.stderr
    assert "smoke.yaml" in done.stderr


def test_all_mistakes_of_a_file_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    file, home = tmp_path / "bad.yaml", tmp_path / "home"
    file.write_text("name: bad\nseeds: 0\nparameters:\n  speaker.vocab_size: {values: [64, 1]}\n")
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 2
    assert f"{file}:2:8: seeds" in done.stderr
    assert f"{file}:4:37: parameters.speaker.vocab_size" in done.stderr
    assert not home.exists()


def test_data_that_is_not_there_is_refused_with_a_remedy(tmp_path: Path) -> None:
    data = {"data": {"kind": "image_folder", "path": "nowhere"}, "speaker": {"patch_size": 8}}
    file = tmp_path / "lost.yaml"
    file.write_text(json.dumps(data | {"validation": {"pool_size": 2}}))
    done = run(["pg-train", str(file), "--local"], tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "--set data.path=" in done.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 4000}, "batch_size is 4000 and the training split has"),
        ({"validation": {"pool_size": 4000}}, "validation.pool_size is 4000 and the validation"),
    ],
)
def test_images_too_few_for_a_batch_or_a_pool_are_refused_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    file = write_sweep(tmp_path, {"experiment": changes})
    done = run(["pg-sweep", str(file)], tmp_path / "home")
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "home" / "trials").exists()


def test_a_run_that_fails_in_this_process_is_a_failed_run(tmp_path: Path) -> None:
    file = write_experiment(tmp_path, {"optimizer": {"kind": "sgd", "lr": 1e30}})
    done = run(["pg-train", str(file), "--local"], tmp_path / "home")
    assert done.returncode == 1
    assert "FloatingPointError: the loss or its gradient is not finite at step" in done.stderr
    with Store.open(tmp_path / "home") as store:
        assert store.finished_trials("train") == []


def test_local_is_one_worker(tmp_path: Path) -> None:
    file = write_experiment(tmp_path, {"resources": {"workers": 2}})
    done = run(["pg-train", str(file), "--local"], tmp_path / "home")
    assert done.returncode == 2
    assert "resources.workers is 2" in done.stderr


def test_a_worker_larger_than_the_machine_is_refused(tmp_path: Path) -> None:
    file = write_experiment(tmp_path, {"resources": {"cpus_per_worker": 4096}})
    done = run(["pg-train", str(file)], tmp_path / "home")
    assert done.returncode == 4
    assert "4096 CPUs" in done.stderr
    assert "--set resources.cpus_per_worker=1" in done.stderr


@pytest.mark.parametrize("command", [train, sweep, report, evaluate, pack, ui])
def test_every_command_tells_its_version(command: click.Command) -> None:
    done = CliRunner().invoke(command, ["--version"])
    assert done.exit_code == 0
    assert done.stdout.endswith(f"version {version('pg_platform')}\n")


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        (sweep, ["smoke", "--status", "--stop"], "--status and --stop exclude each other"),
        (sweep, ["smoke", "--stop", "--kill", "V=2"], "--stop and --kill exclude each other"),
        (sweep, ["smoke", "--dry-run", "--status"], "--dry-run and --status exclude each other"),
        (sweep, ["smoke", "--cancel", "--fresh"], "--cancel and --fresh exclude each other"),
        (sweep, ["smoke", "--fresh", "--rerun"], "--fresh and --rerun exclude each other"),
        (sweep, ["smoke", "--local", "--address", "auto"], "--local and --address exclude"),
        (sweep, ["smoke", "-q", "-v"], "--quiet and --verbose exclude each other"),
        (sweep, ["smoke", "--slots", "2"], "--slots is of use with --dry-run only"),
        (sweep, ["smoke", "--json"], "--json is of use with --dry-run or --status or --list only"),
        (sweep, ["--list", "smoke"], "--list and FILE exclude each other"),
        (sweep, [], "no FILE given; pg-sweep --list"),
        (train, ["--show-recipe", "paper", "--local"], "--show-recipe and --local exclude"),
        (train, ["x.yaml", "--show-recipe", "paper"], "--show-recipe and FILE exclude"),
        (train, ["x.yaml", "--against", "paper"], "--against is of use with --show-recipe only"),
        (train, ["x.yaml", "--local", "--address", "auto"], "--local and --address exclude"),
        (pack, ["x.yaml", "to", "--verify", "to"], "--verify and FILE exclude each other"),
    ],
)
def test_options_that_exclude_each_other_are_refused_in_one_line(
    command: click.Command, arguments: Sequence[str], told: str
) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1


def test_the_sweeps_that_ship_are_listed_with_their_questions() -> None:
    listed = CliRunner().invoke(sweep, ["--list"]).stdout.splitlines()
    named = json.loads(CliRunner().invoke(sweep, ["--list", "--json"]).stdout)
    assert list(named) == sorted(path.stem for path in sweeps().glob("*.yaml"))
    assert all(named.values())
    assert [line.split(maxsplit=1) for line in listed] == [list(item) for item in named.items()]


def test_a_shell_completes_options_and_names_of_sweeps() -> None:
    asked = {"_PG_SWEEP_COMPLETE": "bash_complete", "COMP_CWORD": "1"}

    def completed(word: str) -> list[str]:
        words = asked | {"COMP_WORDS": f"pg-sweep {word}"}
        command = [str(BIN / "pg-sweep")]
        done = subprocess.run(
            command, env=os.environ | words, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("vocab_") == ["plain,vocab_length", "plain,vocab_size", "file,vocab_"]
    assert completed("--st") == ["plain,--status", "plain,--stop"]


def test_a_local_run_imports_no_ray(tmp_path: Path) -> None:
    file = write_experiment(tmp_path, {"epochs": 1})
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from pg_platform.cli.train import train\n"
        f"done = CliRunner().invoke(train, [{str(file)!r}, '--local', '-q'])\n"
        "print(done.stdout, done.exit_code, 'ray' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment(tmp_path / "home"),
    )
    first, second, last = done.stdout.splitlines()
    assert first.startswith("run: ")
    assert second.startswith("checkpoints: ")
    assert last.split() == ["0", "False"]


def test_a_local_sweep_is_told_quietly_or_at_length(tmp_path: Path) -> None:
    file, home = written(tmp_path), tmp_path / "home"
    quiet = run(["pg-sweep", str(file), "--local", "--quiet"], home)
    assert quiet.returncode == 0, quiet.stderr
    assert "running" not in quiet.stdout
    assert "val/top1_pool32" in quiet.stdout
    long = run(["pg-sweep", str(file), "--local", "--verbose", "--set", "seeds=2"], home)
    assert "V=2 seed=1  epoch 1/1  train/loss" in long.stdout
    assert "look at it: pg-ui" in long.stdout


def test_a_local_sweep_stops_where_another_terminal_asks(tmp_path: Path) -> None:
    file, home = written(tmp_path, {"experiment": {"epochs": 100_000}}), tmp_path / "home"
    process = start(["pg-sweep", str(file), "--local"], home)
    wait_until(lambda: bool(list(home.glob("trials/*/step-*"))), process)
    status = Control(home, "small").status()
    assert status is not None
    assert status["running"]
    assert run(["pg-sweep", str(file), "--stop"], home).returncode == 0
    assert process.wait(timeout=60) == 130
    assert {run.status for run in trials(home, "small").values()} == {"KILLED"}


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("lines", ["epoch 3/100, step 240/8000, 512 images/s, 2m 9s left"]),
        ("verbose", ["epoch 3/100, step 240/8000, 512 images/s, 2m 9s left"] * 3),
        ("quiet", []),
    ],
)
def test_a_long_trial_tells_how_far_it_is_once_a_minute(
    output: Output, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    clock, (trial,) = Clock(), vocabularies([2], seeds=1)
    screen = LiveTable([trial], "val/top1", output, clock)
    screen.show(trial, "running")
    for clock.now in (1.0, 59.0, 61.0):
        screen.beat(trial.id, Heartbeat(3, 240, 8000, 512.3, 129.0))
    printed = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]
    assert printed == [f"{trial.name}  {line}" for line in lines]
    (state,) = screen.states()
    assert (state["step"], state["left"]) == ("240/8000", "2m 9s")
    screen.progress(trial.id, Row(3, 240, 240 * 64, {"val/top1": 0.5}))
    screen.show(trial, "finished")
    assert "step" not in screen.states()[0]


def test_training_tells_where_it_stands_and_changes_nothing(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(SMALL)
    beats, rows = list[Heartbeat](), list[Row]()
    train_loop(
        experiment,
        tmp_path,
        place=local_worker(experiment.resources),
        report=rows.extend,
        should_stop=lambda: False,
        beat=beats.append,
        beat_seconds=0.0,
    )
    steps = rows[-1].step
    assert [beat.step for beat in beats] == list(range(1, steps + 1))
    assert {beat.steps for beat in beats} == {steps}
    assert [beat.epoch for beat in beats] == sorted([1, 2] * (steps // 2))
    assert all(beat.images_per_s > 0 for beat in beats)
    assert beats[-1].seconds_left == 0
    assert beats[0].seconds_left > 0


def test_where_the_log_of_a_failed_trial_lies_is_told(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, {"experiment": {"optimizer": {"kind": "sgd", "lr": 1e30}}})
    done = run(["pg-sweep", str(file), "--local"], tmp_path / "home")
    assert done.returncode == 1
    logs = [line.rpartition(": ")[2] for line in done.stderr.splitlines() if "traceback" in line]
    assert logs
    assert all("Traceback" in Path(log).read_text() for log in logs)
