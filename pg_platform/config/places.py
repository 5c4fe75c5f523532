"""Where files lie: recipes and sweeps that ship with the package, and the store of results."""

from __future__ import annotations

import os
from pathlib import Path

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
    """The absolute folder of database, artifacts and checkpoints.

    `PG_HOME` wins; else `runs/` in the checkout; else `runs/` in the current folder.
    """
    if home := os.environ.get("PG_HOME"):
        return Path(home).expanduser().absolute()
    in_checkout = (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "sweeps").is_dir()
    return (_CHECKOUT if in_checkout else Path.cwd()) / "runs"
