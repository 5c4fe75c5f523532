"""Small sweeps that train in one process, without Ray, and what the store then has of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import pg_platform
from pg_platform.cli.evaluate import evaluate as pg_eval
from pg_platform.cli.report import report as pg_report
from pg_platform.cli.sweep import sweep as pg_sweep
from pg_platform.driver.driver import SweepResult, run_sweep
from pg_platform.driver.local import LocalExecutor
from pg_platform.driver.resume import Retry
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import load_sweep
from tests.small import environment, merged, write_sweep

WIDE: dict[str, Any] = {
    "seeds": 1,
    "experiment": {
        "epochs": 1,
        "data": {"count": 200},
        "validation": {"pool_size": 32},
        "speaker": {"rank": {"width": 16}},
        "listener": {"vision": {"width": 16}},
    },
}
DRIVER = """
import sys
from pathlib import Path
from tests.local_sweeps import play
play(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
"""


def written(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """The file of a sweep of two vocabularies and one seed, of one epoch."""
    return write_sweep(folder, merged(WIDE, changes or {}))


def play(
    file: Path, home: Path, *overrides: str, scale: str | None = None, retry: Retry | None = None
) -> SweepResult:
    """Run a sweep to its end in this process."""
    with Store.open(home) as store:
        sweep = load_sweep(file, overrides, scale)
        return run_sweep(sweep, home, store, LocalExecutor(home), retry)


def changed_package(folder: Path) -> Path:
    """A copy of the package whose learning rates are computed by an edited file."""
    for part in ("pg_platform", "evals", "tests"):
        origin = Path(pg_platform.__file__).parents[1] / part
        shutil.copytree(origin, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    edited = folder / "pg_platform" / "training" / "optimizer.py"
    edited.write_text(edited.read_text() + "\n# edited\n")
    return folder


def play_with(package: Path, file: Path, home: Path, *overrides: str) -> None:
    """Run a sweep with another copy of the package."""
    inherited = environment(home) | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-c", DRIVER, str(file), str(home), *overrides]
    done = subprocess.run(
        command, env=inherited, cwd=package, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def sweeps(home: Path) -> dict[str, StoredRun]:
    """The own runs of sweeps by name."""
    with Store.open(home) as store:
        return {run.tags["pg.sweep"]: run for run in store.sweeps()}


def trials(home: Path, sweep: str) -> dict[str, StoredRun]:
    """The trials of a sweep by name; ValueError where two have one name."""
    with Store.open(home) as store:
        found = store.trials(sweeps(home)[sweep].run_id)
    named = {run.name: run for run in found}
    if len(named) < len(found):
        raise ValueError(f"two trials have one name: {[run.name for run in found]}")
    return named


def kept(home: Path, sweep: str) -> dict[str, str]:
    """All that a report has written of a sweep: tables, page and description."""
    run_ = sweeps(home)[sweep]
    paths = [f"tables/comparison.{form}" for form in ("csv", "json", "md", "tex")]
    with Store.open(home) as store:
        texts = {path: store.text(run_.run_id, path) for path in [*paths, "report/page.html"]}
    return texts | {"note": run_.tags["mlflow.note.content"]}


def command(home: Path, name: str, *arguments: str) -> Result:
    """A command of the package in this process, in the store `home`."""
    called = {"pg-report": pg_report, "pg-sweep": pg_sweep, "pg-eval": pg_eval}[name]
    return CliRunner().invoke(called, arguments, env={"PG_HOME": str(home)}, catch_exceptions=False)


def report(home: Path, *arguments: str) -> str:
    """What pg-report prints; it must end well."""
    done = command(home, "pg-report", *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def empty_home(folder: Path) -> Path:
    """A store without runs; it can be copied before it has any, which is faster than a new one."""
    with Store.open(folder):
        return folder
