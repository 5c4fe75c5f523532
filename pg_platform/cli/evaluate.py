"""pg-eval: an evaluation of evals/ on trained runs."""

from __future__ import annotations

import json

import click

from pg_platform.cli.exits import exit_codes
from pg_platform.cli.options import Command, set_option
from pg_platform.config.paths import evaluation_names, store_root


def _named(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """What a shell makes of the beginning of a name."""
    return [name for name in evaluation_names() if name.startswith(incomplete)]


@click.command(cls=Command, epilog=f"Evaluations: {', '.join(evaluation_names())}.")
@click.argument("name", shell_complete=_named)
@click.argument("target")
@set_option
@click.option(
    "--weights",
    metavar="FILE",
    help="A pretrained network's weights, where NAME wants one; 'download' fetches them.",
)
@click.option(
    "--data",
    "moved",
    multiple=True,
    metavar="KEY=PATH",
    help="Where the images of the runs lie now, as --data path=FOLDER. Repeatable.",
)
@click.option("--gpu", is_flag=True, help="Compute on the GPU.")
@click.option(
    "--address",
    metavar="ADDRESS",
    help="A running Ray cluster ('auto' on its head) that evaluates runs side by side.",
)
@click.option("--fresh", is_flag=True, help="Compute again what the run holds already.")
def evaluate(  # noqa: PLR0913 - the options of the command
    name: str,
    target: str,
    overrides: tuple[str, ...],
    weights: str | None,
    moved: tuple[str, ...],
    gpu: bool,  # noqa: FBT001
    address: str | None,
    fresh: bool,  # noqa: FBT001
) -> None:
    """Run the evaluation NAME on TARGET: a run id, a checkpoint's folder, or a sweep's name.

    NAME is one of those below, a Python file like those of evals/ (./my_eval.py), several as
    knn,form, `all` of them, or `paper` for those of its tables and figures.

    The results go back to the same MLflow runs.
    """
    with exit_codes(_data_of_run):
        from pg_platform.evaluate import evaluate_target

        quoted = json.dumps(weights, ensure_ascii=False)
        given = () if weights is None else (f"weights={quoted}",)
        lines = evaluate_target(
            name,
            target,
            overrides + given,
            store_root(),
            moved=moved,
            gpu=gpu,
            fresh=fresh,
            address=address,
        )
        for line in lines:
            click.echo(line)


def _data_of_run(key: str, value: str) -> str:
    from pg_platform.evaluate import data_option

    return data_option(key, value)
