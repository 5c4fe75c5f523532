"""pg-train: one experiment."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pg_platform.cli.exits import (
    Failure,
    checked,
    exit_codes,
    gave_way,
    outcome_of,
    refuse,
    set_key,
    was_cut_short,
)
from pg_platform.cli.options import Command, address_option, set_option
from pg_platform.config.paths import store_root

if TYPE_CHECKING:
    pass


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@set_option
@click.option("--local", is_flag=True, help="Train in this process, without Ray.")
@address_option
@click.option("--show-recipe", metavar="RECIPE", help="Print a recipe's keys; train nothing.")
@click.option(
    "--against",
    metavar="RECIPE",
    default="default",
    show_default=True,
    help="The recipe that --show-recipe compares with.",
)
def train(  # noqa: PLR0913 - the options of the command
    file: Path | None,
    overrides: tuple[str, ...],
    local: bool,  # noqa: FBT001
    address: str | None,
    show_recipe: str | None,
    against: str,
) -> None:
    """Train one experiment FILE, as a Ray TorchTrainer with `resources.workers` workers.

    Started again, it goes on from its last checkpoint; a finished run is not run again.
    """
    if show_recipe is not None:
        _print_differences(show_recipe, against)
        return
    from pg_platform.sweep.load import load_experiment

    if file is None or not file.is_file():
        refuse(f"no file {file or 'given'}; examples/digits.yaml is one to start from")
    experiment = checked(lambda: load_experiment(file, overrides))
    with exit_codes(set_key):
        from pg_platform.data.identity import identity
        from pg_platform.driver.driver import Executor, run_train
        from pg_platform.driver.environment import prepare
        from pg_platform.store.store import Store
        from pg_platform.sweep.trials import single

        root = store_root()
        trial = single(experiment, file.stem, identity)
        executor: Executor
        if local:
            from pg_platform.driver.local import LocalExecutor

            executor = LocalExecutor(root)
        else:
            prepare(address)
            from pg_platform.cluster.executor import RayExecutor

            executor = RayExecutor(root, worker_group=True)
        with closing(Store.open(root)) as store:
            result = run_train(trial, root, store, executor)
        if result.reused:
            click.echo(f"{file.stem}: finished before, not run again")
        click.echo(f"run: {result.run_id}\ncheckpoints: {result.folder}")
        errors = result.verdict.failed.values()
        failed = [Failure(trial.name, error, result.folder) for error in errors]
        if result.verdict.infrastructure is not None:
            sys.exit(gave_way(result.verdict.infrastructure))
        again = "the same command tries it again"
        if outcome := outcome_of(failed, again, interrupted=was_cut_short(result.verdict)):
            sys.exit(outcome)


def _print_differences(name: str, other: str) -> None:
    """The keys in which two recipes differ, one a line, with both values."""
    from pg_platform.config.overrides import differences, load_recipe

    one, two = (checked(partial(load_recipe, each)) for each in (name, other))
    rows = [("key", name, other), *differences(one, two)]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for key, ours, theirs in rows:
        click.echo(f"{key:<{widths[0]}}  {ours:<{widths[1]}}  {theirs}".rstrip())
