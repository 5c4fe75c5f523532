"""Where files lie: recipes and sweeps that ship with the package, and the store of results."""

from __future__ import annotations

import os
from pathlib import Path

from pg_platform.config.paths import absolute, is_address
from pg_platform.config.problems import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parent

RECIPES = _PACKAGE / "config" / "recipes"


def recipe_names() -> list[str]:
    """The recipes: the files of config/recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def sweeps() -> Path:
    """The folder of sweep files: inside an installed package, else in the checkout."""
    installed = _PACKAGE / "sweeps"
    return installed if installed.is_dir() else _CHECKOUT / "sweeps"


def store_root() -> Path:
    """The absolute folder of database, artifacts and checkpoints, symbolic links followed.

    `PG_HOME` wins; else `runs/` in the checkout; else `runs/` in the current folder. A relative
    `PG_HOME` is meant from the current folder. ConfigError where it is the address of an object
    store, ValueError where it cannot be a folder.
    """
    if home := os.environ.get("PG_HOME"):
        if is_address(home):
            raise ConfigError([f"PG_HOME: wants a folder of this machine, got {home}"])
        return _folder(home)
    in_checkout = (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "sweeps").is_dir()
    return ((_CHECKOUT if in_checkout else Path.cwd()) / "runs").resolve()


def _folder(home: str) -> Path:
    try:
        home.encode()
        path = Path(absolute(str(Path(home).expanduser()))).resolve()
    except (UnicodeEncodeError, RuntimeError) as error:  # RuntimeError: no such user, or a circle
        raise ValueError(f"PG_HOME={home!a}: no name of a folder ({error})") from error
    there = next(each for each in (path, *path.parents) if each.exists())
    if not there.is_dir():
        raise ValueError(f"PG_HOME={home}: {there} is a file; give a folder, made if absent")
    return path
