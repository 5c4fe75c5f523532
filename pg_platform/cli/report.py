"""pg-report: a sweep's report again, from the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pg_platform.api import name_of_list
from pg_platform.cli.exits import exit_codes
from pg_platform.cli.files import load_sweeps, print_reproduction, set_of_sweep
from pg_platform.cli.options import Command, LocalPath, SweepName, set_option
from pg_platform.config.paths import store_root

if TYPE_CHECKING:
    from pg_platform.sweep.load import Sweep


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=SweepName())
@set_option
@click.option("--scale", metavar="NAME", help="A form of the sweep that its file has, as small.")
@click.option("--to", type=LocalPath(), help="Write the page to this file as well.")
def report(file: str, overrides: tuple[str, ...], scale: str | None, to: Path | None) -> None:
    """Write the report of the sweep FILE again, from the store alone: tables, figures, page.

    FILE is a path, or a name: the report is of the sweep as it was run last. With --set it is of
    the file as it is now with those values. Where FILE is a list of sweeps, write the one page of
    them all.
    """
    with exit_codes():
        name, there = _to_report(file, overrides, scale)
    with exit_codes(partial(set_of_sweep, there)):
        from pg_platform.report.report import write_again

        if name is not None:
            print_reproduction(name, there, to)
            return
        (only,) = there
        for line in write_again(only, store_root(), to):
            click.echo(line)


def _to_report(
    file: str, overrides: Sequence[str], scale: str | None
) -> tuple[str | None, list[Sweep]]:
    """What `load_sweeps` gives, each sweep as it was run last where nothing is set."""
    from pg_platform.report.report import run_last

    root = store_root()
    by_name = scale is None and not overrides and not Path(file).is_file()
    if by_name and (found := run_last(root, file)) is not None:
        return None, [found]
    name, there = load_sweeps(file, overrides, scale)
    if overrides:
        return name, there
    last = [run_last(root, each.name, each) or each for each in there]
    return None if name is None else name_of_list(name, last), last
