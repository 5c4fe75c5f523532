"""The wheel holds all that the commands need, and works away from a checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands import PATIENCE
from tests.small import environment

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("pg-train", "pg-sweep", "pg-report", "pg-eval", "pg-ui", "pg-pack")
UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
SHRUNK = {
    "seeds": "1",
    "parameters.speaker.vocab_size.values": "[8]",
    "experiment.epochs": "1",
    "experiment.listener.text.depth": "1",
}


def built(source: Path, target: Path) -> tuple[Path, Path]:
    """The wheel and the sdist that `make dist` builds from a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def venv(dist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, and beside it what the wheel depends on.

    A line of a .pth file adds a folder without the .pth files inside, of which one is the checkout.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    for command in (
        ["venv", "--python", sys.executable, str(folder)],
        ["pip", "install", "--no-deps", "--python", str(folder), str(dist[0])],
    ):
        subprocess.run([UV, *command, "--offline", "--quiet"], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(venv: Path, arguments: Sequence[str], folder: Path) -> str:
    """Standard output of a command of the environment, run in a folder with its own store."""
    inherited = environment(folder / "store")
    inherited.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(venv / "bin" / arguments[0]), *arguments[1:]],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def names(folder: Path, pattern: str = "*.yaml") -> set[str]:
    return {path.name for path in folder.glob(pattern)}


def test_the_wheel_holds_recipes_sweeps_evaluations_and_licence(venv: Path) -> None:
    (packages,) = venv.glob("lib/python*/site-packages")
    package = packages / "pg_platform"
    assert names(ROOT / "sweeps") == names(package / "sweeps") != set()
    recipes = Path("config", "recipes")
    assert names(package / recipes) == names(ROOT / "pg_platform" / recipes) >= {"default.yaml"}
    assert names(package / "evals", "*.py") == names(ROOT / "evals", "*.py") != set()
    assert (package / "py.typed").is_file()
    (information,) = packages.glob("pg_platform-*.dist-info")
    assert (information / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_wheel_holds_nothing_else(dist: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(dist[0]) as archive:
        files = {Path(name) for name in archive.namelist()}
    assert {path.parts[0] for path in files if ".dist-info" not in path.parts[0]} == {"pg_platform"}
    assert not [path for path in files if path.name.startswith("test_")]


def test_the_sdist_makes_the_same_wheel(dist: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = dist
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again, _ = built(unpacked, tmp_path / "dist")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in other.infolist()
        }


def test_nothing_is_read_from_the_checkout(venv: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util, pg_platform\n"
        "from pg_platform.config import paths\n"
        "places = pg_platform.__file__, paths.sweeps(), paths.evaluations(), paths.RECIPES\n"
        "print(*places, sep='\\n')\n"
        "assert importlib.util.find_spec('evals') is importlib.util.find_spec('tests') is None\n"
    )
    told = run(venv, ["python", "-c", code], tmp_path)
    (packages,) = venv.glob("lib/python*/site-packages")
    assert all(Path(line).is_relative_to(packages / "pg_platform") for line in told.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_console_script_answers(venv: Path, tmp_path: Path, command: str) -> None:
    assert "Usage:" in run(venv, [command, "--help"], tmp_path)


def test_a_sweep_that_ships_is_run_and_evaluated(venv: Path, tmp_path: Path) -> None:
    changes = [part for key, value in SHRUNK.items() for part in ("--set", f"{key}={value}")]
    run(venv, ["pg-sweep", "smoke", *changes], tmp_path)
    assert "top1_k5_T0.07" in run(venv, ["pg-eval", "knn", "smoke", "--set", "k=5"], tmp_path)
