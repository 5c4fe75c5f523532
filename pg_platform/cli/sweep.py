"""pg-sweep: run a sweep, foresee it, or talk with the one that runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pg_platform import api
from pg_platform.cli.exits import (
    Exit,
    Failure,
    exit_codes,
    gave_way,
    outcome_of,
    refuse,
    was_cut_short,
)
from pg_platform.cli.files import load_sweeps, print_reproduction, question, set_of_sweep
from pg_platform.cli.options import (
    Command,
    SweepName,
    address_option,
    local_option,
    output_of,
    output_options,
    set_option,
)
from pg_platform.config.paths import store_root, sweeps

if TYPE_CHECKING:
    from pg_platform.driver.driver import SweepResult
    from pg_platform.driver.dry_run import DryRun
    from pg_platform.sweep.load import Sweep


_REMEDIES = {"failed": "--retry-failed", "infeasible": "--retry-infeasible"}
"""How trials that ended so in an earlier call are run again."""


_MODES = ("--dry-run", "--status", "--stop", "--cancel", "--kill", "--list")
"""A call runs the sweep, or does one of these."""
_OF_A_RUN = ("--local", "--quiet", "--verbose", "--fresh")
_TALKS = ("--status", "--stop", "--cancel", "--kill", "--list")
_RETRIES = ("--retry-failed", "--retry-infeasible", "--rerun")


@click.command(
    cls=Command,
    alternatives=[
        _MODES,
        *([talk, each] for talk in _TALKS for each in (*_OF_A_RUN, *_RETRIES, "--address")),
        *(["--fresh", each] for each in _RETRIES),
        *(["--dry-run", each] for each in ("--local", "--quiet", "--verbose")),
        *(["--list", each] for each in ("FILE", "--set", "--scale")),
        ["--local", "--address"],
        ["--quiet", "--verbose"],
    ],
    needs={
        "--calibrate": ["--dry-run"],
        "--slots": ["--dry-run"],
        "--json": ["--dry-run", "--status", "--list"],
    },
)
@click.argument("file", metavar="FILE", required=False, type=SweepName())
@set_option
@local_option
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
@click.option("--list", "list_", is_flag=True, help="The sweeps that ship, and what they ask.")
@click.option("--json", "as_json", is_flag=True, help="--dry-run, --status, --list for programs.")
@output_options
def sweep(  # noqa: PLR0913 - the options of the command
    file: str | None,
    overrides: tuple[str, ...],
    local: bool,  # noqa: FBT001
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
    list_: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
    verbose: bool,  # noqa: FBT001
) -> None:
    """Run what is not finished of the sweep FILE: a path, or a name in sweeps/.

    The same command runs, continues and extends a sweep; nothing finished runs twice.
    Where FILE is a list of sweeps, as paper.yaml, they run in its order, then come together on
    one page.
    """
    if list_:
        _print_list(as_json=as_json)
        return
    if file is None:
        refuse("no FILE given; pg-sweep --list has the sweeps that ship")
    name, there = load_sweeps(file, overrides, scale)
    for each in there:
        if each.metric.warning is not None:
            click.echo(f"{each.name}: {each.metric.warning}", err=True)
    if status or stop or cancel or kill:
        if name is not None:
            refuse(f"{name} is a list of sweeps; ask one: {', '.join(s.name for s in there)}")
        (only,) = there
        with exit_codes():
            from pg_platform.driver.dry_run import driven

            meant = only.name if overrides else driven(store_root(), only.name)
            _talk(meant, status=status, stop=stop, cancel=cancel, kill=kill, as_json=as_json)
        return
    with exit_codes(partial(set_of_sweep, there)):
        from pg_platform.driver.dry_run import refuse_other_sweeps
        from pg_platform.driver.resume import Retry

        retry = Retry(retry_failed, retry_infeasible, fresh, rerun)
        if dry_run:
            foresee = partial(api.plan, slots=slots, calibrate=calibrate, retry=retry)
            dries = {sweep.name: foresee(sweep) for sweep in there}
            _print_dry(dries, listed=name is not None, as_json=as_json)
            return
        if name is not None and not fresh:  # the last of a list is not to end it after hours
            refuse_other_sweeps(there, store_root())
        output = output_of(quiet=quiet, verbose=verbose)
        run = partial(api.run_sweep, local=local, address=address, retry=retry, output=output)
        worst = _run_all(there, run, quiet=quiet)
        if name is not None:
            print_reproduction(name, there, None)
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


def _print_list(*, as_json: bool) -> None:
    """The sweeps that ship by name, each with its question."""
    told = {path.stem: question(path) for path in sorted(sweeps().glob("*.yaml"))}
    if as_json:
        click.echo(json.dumps(told))
        return
    width = max(map(len, told))
    for name, text in told.items():
        click.echo(f"{name:<{width}}  {text}")


def _run_all(there: Sequence[Sweep], run: Callable[[Sweep], SweepResult], *, quiet: bool) -> Exit:
    """Run the sweeps in order, up to one that cannot go on; the gravest outcome of all."""
    from pg_platform.driver.control import INTERRUPTS

    gravest = Exit.DONE
    for each in there:
        if not quiet:
            points, seeds = each.file.samples or len(each.points), len(each.seeds)
            click.echo(f"{each.name}: {points} points x {seeds} seeds; results in {store_root()}")
        result = run(each)
        _print_result(result, quiet=quiet)
        outcome = _outcome_of_sweep(result, store_root())
        if outcome >= Exit.INFRASTRUCTURE:
            sys.exit(outcome)
        if INTERRUPTS.asked and each is not there[-1]:
            sys.exit(INTERRUPTS.code)
        # A trial that failed is graver than a budget that is spent.
        gravest = min(filter(None, (gravest, outcome)), default=Exit.DONE)
    return gravest


def _talk(  # noqa: PLR0913 - by keyword
    name: str, *, status: bool, stop: bool, cancel: bool, kill: str | None, as_json: bool
) -> None:
    """See how a sweep stands that another terminal runs, or ask something of its driver."""
    from pg_platform.driver.control import Request, ask, read_status, status_lines

    root = store_root()
    if status:
        if as_json:
            click.echo(json.dumps(read_status(root, name)))
        else:
            click.echo("\n".join(status_lines(root, name)))
    elif kill is not None:
        ask(root, name, Request("kill", kill))
    elif stop or cancel:
        ask(root, name, Request("stop" if stop else "cancel"))


def _print_result(result: SweepResult, *, quiet: bool) -> None:
    """How a sweep stands; `quiet` leaves out all but the table and what it says."""
    from pg_platform.report.comparison import print_table
    from pg_platform.report.summary import answer
    from pg_platform.store.codes import mixture

    if result.table is not None:
        if (mixed := mixture(result.table.codes)) is not None:
            click.echo(mixed)
        print_table(result.table)
        click.echo(answer(result.table))
    for claim in result.claims:
        click.echo(claim)
    if result.kept is not None:
        click.echo(result.kept)
    if quiet:
        return
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
    click.echo(f"store: {result.store}\nlook at it: pg-ui")


def _outcome_of_sweep(result: SweepResult, root: Path) -> Exit:
    """What the shell is told: a trial that failed in an earlier call counts while it stands."""
    from pg_platform.sweep.trials import trial_folder

    verdict, trials = result.verdict, {trial.id: trial for trial in result.trials}

    def failures(errors: Mapping[str, str]) -> list[Failure]:
        return [
            Failure(trials[i].name, error, trial_folder(root, trials[i]))
            for i, error in errors.items()
        ]

    if verdict.cancelled:
        return Exit.INTERRUPTED
    if verdict.infrastructure is not None:
        return gave_way(verdict.infrastructure)
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
    return outcome_of(failed, again, interrupted=was_cut_short(verdict))
