"""pg-train: one experiment."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from pg_platform import api
from pg_platform.cli.exits import (
    Failure,
    checked,
    exit_codes,
    outcome_of,
    refuse,
    set_key,
    was_cut_short,
)
from pg_platform.cli.options import (
    Command,
    address_option,
    local_option,
    output_of,
    output_options,
    set_option,
)

_OF_A_RUN = ("FILE", "--set", "--local", "--address", "--quiet", "--verbose")


@click.command(
    cls=Command,
    alternatives=[
        *(["--show-recipe", each] for each in _OF_A_RUN),
        ["--local", "--address"],
        ["--quiet", "--verbose"],
    ],
    needs={"--against": ["--show-recipe"]},
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), required=False)
@set_option
@local_option
@address_option
@output_options
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
    quiet: bool,  # noqa: FBT001
    verbose: bool,  # noqa: FBT001
    show_recipe: str | None,
    against: str,
) -> None:
    """Train one experiment FILE, as a Ray TorchTrainer with `resources.workers` workers.

    Started again, it goes on from its last checkpoint; a finished run is not run again.
    """
    if show_recipe is not None:
        _print_differences(show_recipe, against)
        return
    if file is None:
        refuse("no FILE given; examples/digits.yaml is one to start from")
    experiment = checked(partial(api.load_experiment, file, overrides))
    with exit_codes(set_key):
        from pg_platform.driver.driver import TrialFailedError

        output, failed = output_of(quiet=quiet, verbose=verbose), []
        try:
            result = api.train(experiment, file.stem, local=local, address=address, output=output)
        except TrialFailedError as error:
            result = error.result
            failed = [Failure(error.name, error.error, result.folder)]
        if result.reused:
            click.echo(f"{file.stem}: finished before, not run again")
        click.echo(f"run: {result.run_id}\ncheckpoints: {result.folder}")
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
