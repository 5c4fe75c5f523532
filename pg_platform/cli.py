"""The commands. Heavy libraries are imported inside the command that needs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from evals import evaluation_names
from pg_platform.config.document import ConfigError
from pg_platform.config.places import store_root, sweeps

if TYPE_CHECKING:
    from pg_platform.cluster.driver import SweepResult
    from pg_platform.cluster.standing import Retry
    from pg_platform.config.sweep import Sweep
    from pg_platform.results.dry_run import DryRun

_Loaded = TypeVar("_Loaded")

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace one value of the file, as --set optimizer.lr=1e-3. Repeatable.",
)
address_option = click.option(
    "--address",
    metavar="ADDRESS",
    help="A running Ray cluster ('auto' on its head). Without it: this machine.",
)


class Exit(IntEnum):
    """What the shell is told."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    BUDGET = 3
    INFRASTRUCTURE = 4
    INTERRUPTED = 130


@click.command()
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
    from pg_platform.config.sweep import load_experiment

    if file is None or not file.is_file():
        _refuse(f"no file {file or 'given'}; examples/digits.yaml is one to start from")
    experiment = _checked(lambda: load_experiment(file, overrides))
    with _exit_codes():
        from pg_platform.cluster.driver import Executor, run_train
        from pg_platform.cluster.environment import prepare
        from pg_platform.config.plan import single
        from pg_platform.data.identity import identity
        from pg_platform.results.tracking import Store

        root = store_root()
        trial = single(experiment, file.stem, identity)
        executor: Executor
        if local:
            from pg_platform.cluster.local import LocalExecutor

            executor = LocalExecutor(root)
        else:
            prepare(address)
            from pg_platform.cluster.sweep import RayExecutor

            executor = RayExecutor(root, worker_group=True)
        with closing(Store.open(root)) as store:
            result = run_train(trial, root, store, executor)
        if result.reused:
            click.echo(f"{file.stem}: finished before, not run again")
        click.echo(f"run: {result.run_id}\ncheckpoints: {result.folder}")
        named = dict.fromkeys(result.verdict.failed, trial.name)
        failed = {named[trial_id]: error for trial_id, error in result.verdict.failed.items()}
        if result.verdict.infrastructure is not None:
            sys.exit(_gave_way(result.verdict.infrastructure))
        if outcome := _outcome(failed, interrupted=bool(result.verdict.interrupted)):
            sys.exit(outcome)


@click.command()
@click.argument("file")
@set_option
@address_option
@click.option("--scale", metavar="NAME", help="A form of the sweep that its file has, as small.")
@click.option("--dry-run", is_flag=True, help="List the trials and their cost; start nothing.")
@click.option("--calibrate", is_flag=True, help="With --dry-run: time a few steps of new shapes.")
@click.option("--slots", type=click.IntRange(min=1), help="With --dry-run: trials at a time.")
@click.option("--retry-failed", is_flag=True, help="Run failed trials again.")
@click.option("--retry-infeasible", is_flag=True, help="Run trials again that had no memory.")
@click.option("--fresh", is_flag=True, help="Set earlier results of this sweep aside.")
@click.option("--status", is_flag=True, help="How the sweep stands that another terminal runs.")
@click.option("--stop", is_flag=True, help="Ask it to stop: running trials leave a checkpoint.")
@click.option("--cancel", is_flag=True, help="End it at once.")
@click.option("--kill", metavar="TRIAL", help="Ask one of its trials to stop, as 'V=8 seed=0'.")
@click.option("--json", "as_json", is_flag=True, help="--dry-run and --status for programs.")
def sweep(  # noqa: PLR0913 - the options of the command
    file: str,
    overrides: tuple[str, ...],
    address: str | None,
    scale: str | None,
    dry_run: bool,  # noqa: FBT001
    calibrate: bool,  # noqa: FBT001
    slots: int | None,
    retry_failed: bool,  # noqa: FBT001
    retry_infeasible: bool,  # noqa: FBT001
    fresh: bool,  # noqa: FBT001
    status: bool,  # noqa: FBT001
    stop: bool,  # noqa: FBT001
    cancel: bool,  # noqa: FBT001
    kill: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Run what is not finished of the sweep FILE: a path, or a name in sweeps/.

    The same command runs, continues and extends a sweep; nothing finished runs twice.
    Where FILE is a list of sweeps, as paper.yaml, they run in its order, then come together on
    one page.
    """
    name, there = _load(file, overrides, scale)
    for each in there:
        if each.metric.warning is not None:
            click.echo(f"{each.name}: {each.metric.warning}", err=True)
    if status or stop or cancel or kill:
        if name is not None:
            _refuse(f"{name} is a list of sweeps; ask one: {', '.join(s.name for s in there)}")
        (only,) = there
        with _exit_codes():
            _talk(only.name, status=status, stop=stop, cancel=cancel, kill=kill, as_json=as_json)
        return
    with _exit_codes():
        from pg_platform.cluster.standing import Retry

        retry = Retry(retry_failed, retry_infeasible, fresh)
        if dry_run:
            from pg_platform import sweeping

            dry_run_of = partial(sweeping.dry_run, slots=slots, calibrated=calibrate)
            dries = {s.name: dry_run_of(s, store_root(), retry) for s in there}
            _print_dry(dries, listed=name is not None, as_json=as_json)
            return
        worst = _run_all(there, address, retry)
        if name is not None:
            _print_reproduction(name, there, None)
    if worst:
        sys.exit(worst)


def _print_dry(dries: Mapping[str, DryRun], *, listed: bool, as_json: bool) -> None:
    """Each dry run; those of a list under the names of its sweeps."""
    if as_json:
        told = {name: dry.as_dict() for name, dry in dries.items()}
        click.echo(json.dumps(told if listed else next(iter(told.values()))))
        return
    for name, dry in dries.items():
        click.echo("\n".join([*([f"== {name}"] if listed else []), *dry.listing()]))


def _run_all(there: Sequence[Sweep], address: str | None, retry: Retry) -> Exit:
    """Run the sweeps in order, up to one that cannot go on; the gravest outcome of all."""
    from pg_platform.cluster.environment import prepare

    prepare(address)  # once: Ray keeps the token with which it started first in a process
    gravest = Exit.DONE
    for each in there:
        outcome = _run_sweep(each, retry)
        if outcome in {Exit.INTERRUPTED, Exit.INFRASTRUCTURE}:
            sys.exit(outcome)
        # A trial that failed is graver than a budget that is spent.
        gravest = min(filter(None, (gravest, outcome)), default=Exit.DONE)
    return gravest


def _print_reproduction(name: str, there: Sequence[Sweep], to: Path | None) -> None:
    from pg_platform.reporting import write_reproduction

    for line in write_reproduction(name, there, store_root(), to):
        click.echo(line)


def _talk(  # noqa: PLR0913 - by keyword
    name: str, *, status: bool, stop: bool, cancel: bool, kill: str | None, as_json: bool
) -> None:
    """See how a sweep stands that another terminal runs, or ask something of its driver."""
    from pg_platform import sweeping
    from pg_platform.cluster.control import Request

    root = store_root()
    if status:
        if as_json:
            click.echo(json.dumps(sweeping.read_status(root, name)))
        else:
            click.echo("\n".join(sweeping.status_lines(root, name)))
    elif kill is not None:
        sweeping.ask(root, name, Request("kill", kill))
    elif stop or cancel:
        sweeping.ask(root, name, Request("stop" if stop else "cancel"))


def _run_sweep(checked: Sweep, retry: Retry) -> Exit:
    """Run one sweep and print how it stands; the environment of Ray is prepared."""
    from pg_platform.cluster.driver import run_sweep
    from pg_platform.cluster.sweep import RayExecutor
    from pg_platform.results.answer import answer
    from pg_platform.results.tables import print_table
    from pg_platform.results.tracking import Store

    root = store_root()
    points, seeds = checked.file.samples or len(checked.points), len(checked.seeds)
    click.echo(f"{checked.name}: {points} points x {seeds} seeds; results in {root}")
    with closing(Store.open(root)) as store:
        result = run_sweep(checked, root, store, RayExecutor(root), retry)
    if result.table is not None:
        print_table(result.table)
        click.echo(answer(result.table))
    verdict, told = result.verdict, list(result.standing.told.values())
    kept = {word: told.count(word) for word in ("failed", "infeasible", "pruned") if word in told}
    counts = {
        "run now": len(verdict.finished),
        "finished before": told.count("reused"),
        "failed": len(verdict.failed),
        "interrupted": len(verdict.interrupted),
        "infeasible": len(verdict.infeasible),
        "pruned": len(verdict.pruned),
        "not started": len(verdict.not_started),
    }
    always = ("run now", "finished before", "failed", "interrupted")
    listed = ", ".join(f"{n} {word}" for word, n in counts.items() if n or word in always)
    click.echo(f"{len(result.trials)} trials: {listed}")
    for word, number in kept.items():
        remedy = {"failed": " (--retry-failed)", "infeasible": " (--retry-infeasible)"}
        click.echo(f"{number} {word} before, not tried again{remedy.get(word, '')}")
    click.echo(f"store: {store.uri}\nlook at it: pg-ui")
    return _outcome_of_sweep(result, {t.id: t.name for t in result.trials})


def _outcome_of_sweep(result: SweepResult, names: dict[str, str]) -> Exit:
    verdict = result.verdict
    if verdict.cancelled:
        return Exit.INTERRUPTED
    if verdict.infrastructure is not None:
        return _gave_way(verdict.infrastructure)
    failed = {names[trial_id]: error for trial_id, error in verdict.failed.items()}
    if verdict.over_budget is not None and not failed:
        click.echo(f"{verdict.over_budget}; the same command with more goes on", err=True)
        return Exit.BUDGET
    failed |= {names[trial_id]: error for trial_id, error in verdict.infeasible.items()}
    return _outcome(failed, interrupted=bool(verdict.interrupted))


def _gave_way(what: str) -> Exit:
    click.echo(f"error: {what}\nmake room, then give the same command: nothing is lost", err=True)
    return Exit.INFRASTRUCTURE


@click.command()
@click.argument("file")
@set_option
@click.option("--scale", metavar="NAME", help="A form of the sweep that its file has, as small.")
@click.option("--to", type=click.Path(path_type=Path), help="Write the page to this file as well.")
def report(file: str, overrides: tuple[str, ...], scale: str | None, to: Path | None) -> None:
    """Write the report of the sweep FILE again, from the store alone: tables, figures, page.

    Where FILE is a list of sweeps, write the one page of them all.
    """
    name, there = _load(file, overrides, scale)
    with _exit_codes():
        from pg_platform.reporting import write_again

        if name is not None:
            _print_reproduction(name, there, to)
            return
        (only,) = there
        for line in write_again(only, store_root(), to):
            click.echo(line)


@click.command(epilog=f"Evaluations: {', '.join(evaluation_names())}.")
@click.argument("name")
@click.argument("target")
@set_option
@click.option(
    "--weights",
    metavar="FILE",
    help="A pretrained network's weights, where NAME wants one; 'download' fetches them.",
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
    gpu: bool,  # noqa: FBT001
    address: str | None,
    fresh: bool,  # noqa: FBT001
) -> None:
    """Run the evaluation NAME on TARGET: a run id, a checkpoint's folder, or a sweep's name.

    NAME is one of those below, several as knn,form, `all` of them, or `paper` for those of its
    tables and figures.

    The results go back to the same MLflow runs.
    """
    with _exit_codes():
        from pg_platform.evaluation import evaluate_target

        given = () if weights is None else (f"weights={json.dumps(weights)}",)
        lines = evaluate_target(
            name, target, overrides + given, store_root(), gpu=gpu, fresh=fresh, address=address
        )
        for line in lines:
            click.echo(line)


@click.command()
@click.option("--port", default=5000, show_default=True, help="Port on 127.0.0.1.")
def ui(port: int) -> None:
    """Serve the store's MLflow pages on loopback and print the links of each sweep's views."""
    with _exit_codes():
        from pg_platform.results.ui import serve

        serve(store_root(), port, echo=click.echo)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.argument("dest", type=click.Path(path_type=Path), required=False)
@set_option
@click.option(
    "--shard-images",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Images in a shard; what a killed pack loses at most.",
)
@click.option(
    "--verify",
    type=click.Path(path_type=Path),
    metavar="DEST",
    help="Check every hash of a pack instead of making one.",
)
def pack(
    file: Path | None,
    dest: Path | None,
    overrides: tuple[str, ...],
    shard_images: int,
    verify: Path | None,
) -> None:
    """Decode the images of the experiment FILE once, into the pack DEST.

    The section data of FILE is an image_folder or parquet. Started again, it goes on.
    """
    if verify is not None:
        with _exit_codes():
            from pg_platform.data import packs

            click.echo(f"{verify}: {packs.verify(verify, click.echo)} images, as written")
        return
    from pg_platform.config.sweep import load_experiment

    if file is None or dest is None:
        _refuse("wanted is pg-pack FILE DEST, or pg-pack --verify DEST")
    if not file.is_file():
        _refuse(f"no file {file}; examples/digits.yaml shows the form, and docs/data.md the kinds")
    experiment = _checked(lambda: load_experiment(file, overrides))
    with _exit_codes():
        from pg_platform.data.packing import write_pack

        count = write_pack(experiment.data, dest, shard_images, click.echo)
        click.echo(
            f"{count} images in {dest}; train on them with --set data.kind=packed "
            f"--set data.path={dest}"
        )


def _print_differences(name: str, other: str) -> None:
    """The keys in which two recipes differ, one a line, with both values."""
    from pg_platform.config.recipe import differences, load_recipe

    one, two = (_checked(partial(load_recipe, each)) for each in (name, other))
    rows = [("key", name, other), *differences(one, two)]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for key, ours, theirs in rows:
        click.echo(f"{key:<{widths[0]}}  {ours:<{widths[1]}}  {theirs}".rstrip())


def _find_sweep(name: str) -> Path:
    """A file by its path or by its name in sweeps/, with or without .yaml."""
    places = (Path(name), sweeps() / name, sweeps() / f"{name}.yaml")
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        known = "\n  ".join(sorted(path.name for path in sweeps().glob("*.yaml")))
        _refuse(f"no file {name} here or in {sweeps()}; there:\n  {known}")
    return found


def _load(file: str, overrides: Sequence[str], scale: str | None) -> tuple[str | None, list[Sweep]]:
    """The sweep FILE alone, or the name of a list of sweeps and all of them, checked."""
    from pg_platform.config.collection import is_collection, load_collection
    from pg_platform.config.sweep import load_sweep

    path = _find_sweep(file)
    if not _checked(partial(is_collection, path)):
        return None, [_checked(partial(load_sweep, path, overrides, scale))]
    name, files = _checked(partial(load_collection, path))
    there = [_checked(partial(load_sweep, each, overrides, scale)) for each in files]
    return name if scale is None else f"{name}_{scale}", there


def _checked(load: Callable[[], _Loaded]) -> _Loaded:
    try:
        return load()
    except ConfigError as error:
        _refuse(str(error))


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Errors that a user can mend become one message and the exit code of their kind."""
    from pg_platform.cluster.lock import AlreadyRunningError
    from pg_platform.config.errors import InfrastructureError

    try:
        yield
    except (InfrastructureError, OSError) as error:  # OSError: a disk or folder that fails
        click.echo(f"error: {error}", err=True)
        sys.exit(Exit.INFRASTRUCTURE)
    except (AlreadyRunningError, ConfigError, ValueError, FloatingPointError) as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


def _outcome(failed: dict[str, str], *, interrupted: bool) -> Exit:
    """Name what failed, each traceback once; the exit code of the outcome."""
    for error in dict.fromkeys(failed.values()):
        who = [name for name, other in failed.items() if other == error]
        click.echo(f"failed: {', '.join(who)}\n{error}", err=True)
    if interrupted:
        click.echo("interrupted; the same command goes on from the last checkpoints", err=True)
        return Exit.INTERRUPTED
    return Exit.SOME_FAILED if failed else Exit.DONE


def _refuse(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(Exit.USAGE)
