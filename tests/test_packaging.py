"""The wheel holds all that the commands need, and works away from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("pg-train", "pg-sweep", "pg-eval", "pg-ui", "pg-pack")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` builds, by the backend named in pyproject.toml."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pip install --no-deps --target` leaves it: a pure wheel is unpacked."""
    target = tmp_path_factory.mktemp("target")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.yaml")}


def run_python(installed: Path, cwd: Path, code: str) -> str:
    """Standard output of `code`, run where only the installed package can be found."""
    kept = {key: value for key, value in os.environ.items() if key != "PG_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=kept | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_wheel_holds_recipes_sweeps_evals_and_licence(installed: Path) -> None:
    package = installed / "pg_platform"
    assert names(ROOT / "sweeps") == names(package / "sweeps") != set()
    recipes = Path("pg_platform", "config", "recipes")
    assert names(installed / recipes) == names(ROOT / recipes) >= {"default.yaml", "paper.yaml"}
    evals = {path.name for path in (ROOT / "evals").glob("*.py")}
    assert {path.name for path in (installed / "evals").glob("*.py")} == evals
    (information,) = installed.glob("*.dist-info")
    assert (information / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_wheel_holds_nothing_else(installed: Path) -> None:
    top = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert top == {"pg_platform", "evals"}
    assert not [path for path in installed.rglob("*") if path.name.startswith("test_")]


def test_sweeps_and_recipes_are_found_outside_a_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "from pg_platform.config import places\n"
        "print(places.__file__, places.sweeps(), places.RECIPES, places.store_root(), sep='\\n')\n"
        "print(len(list(places.sweeps().glob('*.yaml'))))\n"
        "assert (places.RECIPES / 'default.yaml').is_file()"
    )
    module, sweeps, recipes, store, count = run_python(installed, tmp_path, code).splitlines()
    assert Path(module).is_relative_to(installed)
    assert Path(sweeps) == installed / "pg_platform" / "sweeps"
    assert Path(recipes).is_relative_to(installed)
    assert Path(store) == tmp_path / "runs"
    assert int(count) == len(names(ROOT / "sweeps"))


@pytest.mark.parametrize("command", COMMANDS)
def test_console_script_answers(installed: Path, tmp_path: Path, command: str) -> None:
    (information,) = installed.glob("*.dist-info")
    (entry,) = PathDistribution(information).entry_points.select(name=command)
    code = f"import sys, {entry.module} as m; sys.argv[1:] = ['--help']; m.{entry.attr}()"
    assert "Usage:" in run_python(installed, tmp_path, code)
