"""The GPU kit runs on a machine that has torch and little else, and tells what it could not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ABSENT = (
    *("click", "lpips", "matplotlib", "mlflow", "optuna", "pandas", "pyarrow"),
    *("rapidfuzz", "ray", "rich", "sklearn", "timm"),
)


def run_kit(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The kit from a checkout on PYTHONPATH, all of its processes without the packages ABSENT."""
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({ABSENT!r}))\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--out", str(folder / "out"), *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(1200)
def test_every_part_gives_figures_or_checks_on_a_bare_machine(tmp_path: Path) -> None:
    done = run_kit(tmp_path, "--device", "cpu", "--minutes", "1")

    found: dict[str, Any] = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {
        name: {record["kind"] for record in part["records"]}
        for name, part in found["parts"].items()
    }
    assert {name for name, seen in kinds.items() if seen & {"figure", "check"}} == set(kinds)
    assert {"machine", "parts"} == set(found)
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert all(f"## {name}" in page for name in kinds)
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_a_card_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = run_kit(tmp_path, "--device", "cuda")
    if "usage" not in done.stderr and done.returncode in (0, 1):
        pytest.skip("this machine has a card")
    assert done.returncode == 2
    assert "no GPU" in done.stderr
