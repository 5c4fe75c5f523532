"""What the shell is told: exit codes, and errors that a user can mend as one message."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from pg_platform.config.section import ConfigError

if TYPE_CHECKING:
    from pg_platform.driver.trial_events import TrialOutcomes

_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True)
class Failure:
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


def was_cut_short(verdict: TrialOutcomes) -> bool:
    return bool(verdict.interrupted or (verdict.stopped and verdict.not_started))


def gave_way(what: str) -> Exit:
    click.echo(f"error: {what}\nmake room, then give the same command: nothing is lost", err=True)
    return Exit.INFRASTRUCTURE


def checked(load: Callable[[], _Loaded]) -> _Loaded:
    try:
        return load()
    except ConfigError as error:
        refuse(str(error))


def set_key(key: str, value: str) -> str:
    """How pg-train and pg-pack set a key of an experiment."""
    return f"--set {key}={value}"


@contextmanager
def exit_codes(option: Callable[[str, str], str] = set_key) -> Iterator[None]:
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
            refuse(error.told(option))
        except (AlreadyRunningError, ConfigError, ValueError, FloatingPointError) as error:
            refuse(str(error))
        except KeyboardInterrupt:
            click.echo("interrupted; the same command goes on from the last checkpoints", err=True)
            sys.exit(INTERRUPTS.code)


def outcome_of(failed: Sequence[Failure], again: str, *, interrupted: bool) -> Exit:
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


def refuse(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(Exit.USAGE)
