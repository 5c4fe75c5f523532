"""The commands. Heavy libraries are imported inside the command that needs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from evals import evaluation_names
from pg_platform.config.paths import absolute, is_address, store_root, sweeps
from pg_platform.config.section import ConfigError
from pg_platform.streams import outlive_readers

if TYPE_CHECKING:
    from pg_platform.driver.driver import SweepResult
    from pg_platform.driver.dry_run import DryRun
    from pg_platform.driver.resume import Retry
    from pg_platform.driver.trial_events import Verdict
    from pg_platform.sweep.load import Sweep

_Loaded = TypeVar("_Loaded")


class _LocalPath(click.ParamType[Path]):
    """A path of this machine, absolute and with `~` read; an address is refused."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if is_address(value):
            self.fail(f"wants a path of this machine, got {value}", param, ctx)
        try:
            return Path(absolute(value))
        except FileNotFoundError as error:
            self.fail(str(error), param, ctx)


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


class _Command(click.Command):
    """A command that goes on without its screen, as in `pg-sweep FILE | head -3`."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        outlive_readers()
        return super().main(*arguments, **options)


_REMEDIES = {"failed": "--retry-failed", "infeasible": "--retry-infeasible"}
"""How trials that ended so in an earlier call are run again."""


@dataclass(frozen=True)
class _Failure:
    """A trial that has no result, why (in its first line), and where its checkpoints lie."""

    name: str
    error: str
    folder: Path


class Exit(IntEnum):
    """What the shell is told."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    BUDGET = 3
    INFRASTRUCTURE = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


@click.command(cls=_Command)
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
        _refuse(f"no file {file or 'given'}; examples/digits.yaml is one to start from")
    experiment = _checked(lambda: load_experiment(file, overrides))
    with _exit_codes(_set_key):
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
        failed = [_Failure(trial.name, error, result.folder) for error in errors]
        if result.verdict.infrastructure is not None:
            sys.exit(_gave_way(result.verdict.infrastructure))
        again = "the same command tries it again"
        if outcome := _outcome(failed, again, interrupted=_was_cut_short(result.verdict)):
            sys.exit(outcome)


@click.command(cls=_Command)
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
@click.option("--rerun", is_flag=True, help="Run again what other code than today's has made.")
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
    rerun: bool,  # noqa: FBT001
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
            from pg_platform.driver.dry_run import driven

            meant = only.name if overrides else driven(store_root(), only.name)
            _talk(meant, status=status, stop=stop, cancel=cancel, kill=kill, as_json=as_json)
        return
    with _exit_codes(partial(_set_of_sweep, there)):
        from pg_platform.driver import dry_run as sweeping
        from pg_platform.driver.resume import Retry

        retry = Retry(retry_failed, retry_infeasible, fresh, rerun)
        if dry_run:
            dry_run_of = partial(sweeping.dry_run, slots=slots, calibrated=calibrate)
            dries = {s.name: dry_run_of(s, store_root(), retry) for s in there}
            _print_dry(dries, listed=name is not None, as_json=as_json)
            return
        if name is not None and not fresh:  # the last of a list is not to end it after hours
            sweeping.refuse_other_sweeps(there, store_root())
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
    from pg_platform.driver.control import INTERRUPTS
    from pg_platform.driver.environment import prepare

    prepare(address)  # once: Ray keeps the token with which it started first in a process
    gravest = Exit.DONE
    for each in there:
        outcome = _run_sweep(each, retry)
        if outcome >= Exit.INFRASTRUCTURE:
            sys.exit(outcome)
        if INTERRUPTS.asked and each is not there[-1]:
            sys.exit(INTERRUPTS.code)
        # A trial that failed is graver than a budget that is spent.
        gravest = min(filter(None, (gravest, outcome)), default=Exit.DONE)
    return gravest


def _print_reproduction(name: str, there: Sequence[Sweep], to: Path | None) -> None:
    from pg_platform.report.report import write_reproduction

    for line in write_reproduction(name, there, store_root(), to):
        click.echo(line)


def _talk(  # noqa: PLR0913 - by keyword
    name: str, *, status: bool, stop: bool, cancel: bool, kill: str | None, as_json: bool
) -> None:
    """See how a sweep stands that another terminal runs, or ask something of its driver."""
    from pg_platform.driver import dry_run as sweeping
    from pg_platform.driver.control import Request

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
    from pg_platform.cluster.executor import RayExecutor
    from pg_platform.driver.driver import run_sweep
    from pg_platform.report.comparison import print_table
    from pg_platform.report.summary import answer
    from pg_platform.store.codes import mixture
    from pg_platform.store.store import Store

    root = store_root()
    points, seeds = checked.file.samples or len(checked.points), len(checked.seeds)
    click.echo(f"{checked.name}: {points} points x {seeds} seeds; results in {root}")
    with closing(Store.open(root)) as store:
        result = run_sweep(checked, root, store, RayExecutor(root), retry)
    if result.table is not None:
        if (mixed := mixture(result.table.codes)) is not None:
            click.echo(mixed)
        print_table(result.table)
        click.echo(answer(result.table))
    if result.kept is not None:
        click.echo(result.kept)
    verdict, standing = result.verdict, result.standing
    told = list(standing.told.values())
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
        remedy = f" ({_REMEDIES[word]})" if word in _REMEDIES else ""
        click.echo(f"{number} {word} before, not tried again{remedy}")
    click.echo(f"store: {store.uri}\nlook at it: pg-ui")
    return _outcome_of_sweep(result, root)


def _outcome_of_sweep(result: SweepResult, root: Path) -> Exit:
    """What the shell is told: a trial that failed in an earlier call counts while it stands."""
    from pg_platform.sweep.trials import trial_folder

    verdict, trials = result.verdict, {trial.id: trial for trial in result.trials}

    def failures(errors: Mapping[str, str]) -> list[_Failure]:
        return [
            _Failure(trials[i].name, error, trial_folder(root, trials[i]))
            for i, error in errors.items()
        ]

    if verdict.cancelled:
        return Exit.INTERRUPTED
    if verdict.infrastructure is not None:
        return _gave_way(verdict.infrastructure)
    failed, kept = failures(verdict.failed), result.standing.kept
    before = {word: dict.fromkeys(kept(word), f"{word} before") for word in _REMEDIES}
    failed += failures(before["failed"])
    if verdict.over_budget is not None:
        click.echo(f"{verdict.over_budget}; the same command with more goes on", err=True)
        if not failed:
            return Exit.BUDGET
    told = [_REMEDIES["failed"]] if failed else []
    if infeasible := failures(verdict.infeasible | before["infeasible"]):
        told.append(_REMEDIES["infeasible"])
    failed += infeasible
    again = f"tried again with {' '.join(told)}, once that is mended"
    return _outcome(failed, again, interrupted=_was_cut_short(verdict))


def _was_cut_short(verdict: Verdict) -> bool:
    return bool(verdict.interrupted or (verdict.stopped and verdict.not_started))


def _gave_way(what: str) -> Exit:
    click.echo(f"error: {what}\nmake room, then give the same command: nothing is lost", err=True)
    return Exit.INFRASTRUCTURE


@click.command(cls=_Command)
@click.argument("file")
@set_option
@click.option("--scale", metavar="NAME", help="A form of the sweep that its file has, as small.")
@click.option("--to", type=_LocalPath(), help="Write the page to this file as well.")
def report(file: str, overrides: tuple[str, ...], scale: str | None, to: Path | None) -> None:
    """Write the report of the sweep FILE again, from the store alone: tables, figures, page.

    FILE is a path, or a name: the report is of the sweep as it was run last. With --set it is of
    the file as it is now with those values. Where FILE is a list of sweeps, write the one page of
    them all.
    """
    with _exit_codes():
        name, there = _to_report(file, overrides, scale)
    with _exit_codes(partial(_set_of_sweep, there)):
        from pg_platform.report.report import write_again

        if name is not None:
            _print_reproduction(name, there, to)
            return
        (only,) = there
        for line in write_again(only, store_root(), to):
            click.echo(line)


@click.command(cls=_Command, epilog=f"Evaluations: {', '.join(evaluation_names())}.")
@click.argument("name")
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

    NAME is one of those below, several as knn,form, `all` of them, or `paper` for those of its
    tables and figures.

    The results go back to the same MLflow runs.
    """
    with _exit_codes(_data_of_run):
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


@click.command(cls=_Command)
@click.option("--port", default=5000, show_default=True, help="Port on 127.0.0.1.")
def ui(port: int) -> None:
    """Serve the store's MLflow pages on loopback and print the links of each sweep's views."""
    with _exit_codes():
        from pg_platform.store.server import serve

        serve(store_root(), port, echo=click.echo)


@click.command(cls=_Command)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.argument("dest", type=_LocalPath(), required=False)
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
    type=_LocalPath(),
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
    from pg_platform.sweep.load import load_experiment

    if file is None or dest is None:
        _refuse("wanted is pg-pack FILE DEST, or pg-pack --verify DEST")
    if not file.is_file():
        _refuse(f"no file {file}; examples/digits.yaml shows the form, and docs/data.md the kinds")
    experiment = _checked(lambda: load_experiment(file, overrides))
    with _exit_codes(_set_key):
        from pg_platform.data.packing import write_pack

        count = write_pack(experiment.data, dest, shard_images, click.echo)
        click.echo(
            f"{count} images in {dest}; train on them with --set data.kind=packed "
            f"--set data.path={dest}"
        )


def _print_differences(name: str, other: str) -> None:
    """The keys in which two recipes differ, one a line, with both values."""
    from pg_platform.config.overrides import differences, load_recipe

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
    from pg_platform.sweep.load import is_collection, load_collection, load_sweep

    path = _find_sweep(file)
    if not _checked(partial(is_collection, path)):
        return None, [_checked(partial(load_sweep, path, overrides, scale))]
    name, files = _checked(partial(load_collection, path))
    there = [_checked(partial(load_sweep, each, overrides, scale)) for each in files]
    return _called(name if scale is None else f"{name}_{scale}", there), there


def _to_report(
    file: str, overrides: Sequence[str], scale: str | None
) -> tuple[str | None, list[Sweep]]:
    """What `_load` gives, each sweep as it was run last where nothing is set."""
    from pg_platform.report.report import run_last

    root = store_root()
    by_name = scale is None and not overrides and not Path(file).is_file()
    if by_name and (found := run_last(root, file)) is not None:
        return None, [found]
    name, there = _load(file, overrides, scale)
    if overrides:
        return name, there
    last = [run_last(root, each.name, each) or each for each in there]
    return None if name is None else _called(name, last), last


def _called(name: str, there: Sequence[Sweep]) -> str:
    """The name of a list of sweeps, with what was set of all of them."""
    variants = dict.fromkeys(each.file.variant for each in there if each.file.variant)
    return f"{name} ({next(iter(variants))})" if variants else name


def _checked(load: Callable[[], _Loaded]) -> _Loaded:
    try:
        return load()
    except ConfigError as error:
        _refuse(str(error))


def _set_key(key: str, value: str) -> str:
    """How pg-train and pg-pack set a key of an experiment."""
    return f"--set {key}={value}"


def _set_of_sweep(there: Sequence[Sweep], key: str, value: str) -> str:
    """How pg-sweep and pg-report set a key of all experiments, or the values that it takes."""
    if any(key in sweep.file.parameters for sweep in there):
        return f"--set 'parameters.{key}.values=[{value}, ...]'"
    if any({key, key.partition(".")[0]} & sweep.parameters.keys() for sweep in there):
        return f"another {key} in the file"
    return f"--set experiment.{key}={value}"


def _data_of_run(key: str, value: str) -> str:
    from pg_platform.evaluate import data_option

    return data_option(key, value)


@contextmanager
def _exit_codes(option: Callable[[str, str], str] = _set_key) -> Iterator[None]:
    """Errors that a user can mend become one message and the exit code of their kind.

    `option` says how the command sets a key of an experiment.
    """
    from pg_platform.config.errors import DataError, InfrastructureError
    from pg_platform.driver.control import INTERRUPTS
    from pg_platform.files import AlreadyRunningError

    with INTERRUPTS.listening():
        try:
            yield
        except (InfrastructureError, OSError) as error:  # OSError: a disk or folder that fails
            click.echo(f"error: {error}", err=True)
            sys.exit(Exit.INFRASTRUCTURE)
        except DataError as error:
            _refuse(error.told(option))
        except (AlreadyRunningError, ConfigError, ValueError, FloatingPointError) as error:
            _refuse(str(error))
        except KeyboardInterrupt:
            click.echo("interrupted; the same command goes on from the last checkpoints", err=True)
            sys.exit(INTERRUPTS.code)


def _outcome(failed: Sequence[_Failure], again: str, *, interrupted: bool) -> Exit:
    """Name what failed, each error in one line and once; the exit code of the outcome."""
    from pg_platform.driver.control import INTERRUPTS
    from pg_platform.driver.trial_events import error_log, headline

    for line in dict.fromkeys(headline(each.error) for each in failed):
        alike = [each for each in failed if headline(each.error) == line]
        logs = [log for each in alike if (log := error_log(each.folder)).is_file()]
        click.echo(f"failed: {', '.join(each.name for each in alike)}: {line}", err=True)
        if logs:
            of_the_first = " of the first" if len(alike) > 1 else ""
            click.echo(f"  traceback{of_the_first}: {logs[0]}", err=True)
    if failed:
        click.echo(again, err=True)
    if interrupted:
        click.echo("interrupted; the same command goes on from the last checkpoints", err=True)
        return Exit(INTERRUPTS.code)
    return Exit.SOME_FAILED if failed else Exit.DONE


def _refuse(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(Exit.USAGE)
