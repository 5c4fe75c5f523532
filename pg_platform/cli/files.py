"""The sweep, or the list of sweeps, that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pg_platform import api
from pg_platform.cli.exits import checked
from pg_platform.config.paths import store_root
from pg_platform.config.yaml_tree import Items, Leaf, read

if TYPE_CHECKING:
    from pg_platform.sweep.load import Sweep


def print_reproduction(name: str, there: Sequence[Sweep], to: Path | None) -> None:
    from pg_platform.report.report import write_reproduction

    for line in write_reproduction(name, there, store_root(), to):
        click.echo(line)


def load_sweeps(
    file: str, overrides: Sequence[str], scale: str | None
) -> tuple[str | None, list[Sweep]]:
    """The sweep FILE alone, or the name of a list of sweeps and all of them, checked."""
    return checked(partial(api.load_sweeps, file, overrides, scale))


def question(file: Path) -> str:
    """What a sweep file asks, or which sweeps a list of them has; nothing else of it is checked."""
    tree = checked(partial(read, file, [])).values
    match tree.get("question"), tree.get("sweeps"):
        case Leaf(value=str(text)), _:
            return text
        case _, Items(items=items):
            return "the sweeps " + ", ".join(item.text for item in items if isinstance(item, Leaf))
    return ""


def set_of_sweep(there: Sequence[Sweep], key: str, value: str) -> str:
    """How pg-sweep and pg-report set a key of all experiments, or the values that it takes."""
    if any(key in sweep.file.parameters for sweep in there):
        return f"--set 'parameters.{key}.values=[{value}, ...]'"
    if any({key, key.partition(".")[0]} & sweep.parameters.keys() for sweep in there):
        return f"another {key} in the file"
    return f"--set experiment.{key}={value}"
