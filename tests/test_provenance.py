"""What a run says of its source."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from pg_platform.store.provenance import git, provenance


def repository(folder: Path) -> Path:
    """A repository with one tracked file."""
    file = folder / "code.py"
    file.write_text("x = 1\n")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "code.py"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return file


def test_a_tracked_file_has_a_commit_and_a_state(tmp_path: Path) -> None:
    file = repository(tmp_path)
    clean = git(file)
    assert len(clean["mlflow.source.git.commit"]) == 40
    assert clean["pg.git_dirty"] == "false"
    file.write_text("x = 2\n")
    assert git(file) == {**clean, "pg.git_dirty": "true"}


def test_a_file_that_the_repository_around_it_does_not_track_has_none(tmp_path: Path) -> None:
    repository(tmp_path)
    installed = tmp_path / "environment" / "package.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert git(installed) == {}


def test_the_versions_are_those_that_run() -> None:
    tags = provenance()
    assert tags["pg.version.python"] == platform.python_version()
    assert {f"pg.version.{name}" for name in ("pg_platform", "torch", "ray", "mlflow")} <= set(tags)
