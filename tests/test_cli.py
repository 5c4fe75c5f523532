"""The commands as a stranger meets them: help, mistakes, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pg_platform.store.store import Store
from tests.commands import run
from tests.small import write_experiment, write_sweep

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
    assert code == (0 if arguments == ["--help"] else 2)
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
