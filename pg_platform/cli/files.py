"""The sweep, or the list of sweeps, that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pg_platform.cli.exits import checked
from pg_platform.config.paths import store_root

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
    from pg_platform.sweep.load import find_sweep, is_collection, load_collection, load_sweep

    path = checked(partial(find_sweep, file))
    if not checked(partial(is_collection, path)):
        return None, [checked(partial(load_sweep, path, overrides, scale))]
    name, files = checked(partial(load_collection, path))
    there = [checked(partial(load_sweep, each, overrides, scale)) for each in files]
    return called(name if scale is None else f"{name}_{scale}", there), there


def called(name: str, there: Sequence[Sweep]) -> str:
    """The name of a list of sweeps, with what was set of all of them."""
    variants = dict.fromkeys(each.file.variant for each in there if each.file.variant)
    return f"{name} ({next(iter(variants))})" if variants else name


def set_of_sweep(there: Sequence[Sweep], key: str, value: str) -> str:
    """How pg-sweep and pg-report set a key of all experiments, or the values that it takes."""
    if any(key in sweep.file.parameters for sweep in there):
        return f"--set 'parameters.{key}.values=[{value}, ...]'"
    if any({key, key.partition(".")[0]} & sweep.parameters.keys() for sweep in there):
        return f"another {key} in the file"
    return f"--set experiment.{key}={value}"
