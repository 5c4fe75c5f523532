"""What a result came from: versions of the software and the state of its source."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("pg_platform", "torch", "ray", "mlflow")
_HERE = Path(__file__).resolve()


def provenance() -> dict[str, str]:
    """Tags for a run: who started it how and where, `pg.version.*`, commit of a checkout."""
    versions = {f"pg.version.{package}": version(package) for package in _PACKAGES}
    command = " ".join((Path(sys.argv[0]).name, *sys.argv[1:]))
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "pg.folder": _folder(),
        "pg.version.python": platform.python_version(),
        **versions,
        **git(_HERE),
    }


def _folder() -> str:
    """From where relative paths in the command are meant; empty where that is gone."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def _user() -> str:
    """The login name, else the number that the system knows this user by."""
    number = os.getuid()
    return next((user.pw_name for user in pwd.getpwall() if user.pw_uid == number), str(number))


def git(file: Path) -> dict[str, str]:
    """Commit of the repository that tracks `file`, and whether its work tree differs from it.

    Empty where git is missing or does not track the file: an environment inside somebody else's
    repository is not that repository's code.
    """
    if _git(file, "ls-files", "--error-unmatch", file.name) is None:
        return {}
    commit, changes = _git(file, "rev-parse", "HEAD"), _git(file, "status", "--porcelain")
    if commit is None or changes is None:
        return {}
    return {"mlflow.source.git.commit": commit, "pg.git_dirty": str(bool(changes)).lower()}


def _git(file: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or is not installed."""
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(file.parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
