"""What happens to trials, told at once to the store, to the screen and to the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pg_platform.config.experiment import Resources
from pg_platform.driver.live_table import LiveTable
from pg_platform.store.runs import TrialRuns
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import Heartbeat, Row


def error_log(folder: Path) -> Path:
    """Where the errors of the trial are written that has its checkpoints in `folder`."""
    return folder / "errors.log"


def headline(error: str) -> str:
    """The first line of an error, which says what it is."""
    return error.partition("\n")[0]


@dataclass
class TrialOutcomes:
    """Trial ids by how they ended in this call; `failed` and `infeasible` hold the error."""

    finished: set[str] = field(default_factory=set)
    interrupted: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    infeasible: dict[str, str] = field(default_factory=dict)
    not_started: set[str] = field(default_factory=set)
    over_budget: str | None = None
    infrastructure: str | None = None
    """What gave way below the trials, as a full disk."""
    cancelled: bool = False
    stopped: bool = False
    """Whether the call was asked to stop before its trials were through."""


@dataclass
class TrialEvents:
    """The trials of one call; `on_end` is called after each that ends."""

    runs: TrialRuns
    screen: LiveTable
    on_end: Callable[[], None]
    verdict: TrialOutcomes = field(default_factory=TrialOutcomes)
    paused: set[str] = field(default_factory=set)

    def begin(self, trial: Trial) -> None:
        """The trial's process is up: for the first time, again, or after a pause."""
        if trial.id not in self.paused:
            self.runs.open(trial)
        self.paused.discard(trial.id)
        self.screen.show(trial, "running")

    def facts(self, trial: Trial, facts: Mapping[str, str]) -> None:
        """What is known only where the trial runs."""
        self.runs.tag(trial, facts)

    def warn(self, trial: Trial, told: str) -> None:
        """The trial went on from an older checkpoint than its newest, which is damaged."""
        self.runs.warn(trial, told)
        self.say(f"warning: {trial.name}: {told}")

    def rows(self, trial: Trial, rows: Sequence[Row]) -> None:
        """The trial reports rows, at least one."""
        self.runs.log(trial, rows)
        self.screen.progress(trial.id, rows[-1])

    def beat(self, trial: Trial, beat: Heartbeat) -> None:
        """The trial tells where it stands between two rows; the store is not told."""
        self.screen.beat(trial.id, beat)

    def pause(self, trial: Trial) -> None:
        """The trial waits at a rung, with a checkpoint, for others of its sweep."""
        self.paused.add(trial.id)
        self.screen.show(trial, "paused")

    def prune(self, trial: Trial) -> None:
        """The trial's point has fallen behind; its checkpoint stays."""
        self._close(trial, "pruned", "pruned")
        self.verdict.pruned.add(trial.id)

    def interrupt(self, trial: Trial, reason: str) -> None:
        """The trial was asked to stop and has left a checkpoint."""
        self._close(trial, reason, "interrupted")
        self.verdict.interrupted.add(trial.id)

    def finish(self, trial: Trial) -> None:
        """The trial came to its last epoch."""
        self.runs.finish(trial)
        self.verdict.finished.add(trial.id)
        self.screen.show(trial, "finished")
        self.on_end()

    def restart(self, trial: Trial, error: str, count: str) -> None:
        """The trial's process was lost, and it is started again: the how many-th time of how many.

        `error` is one line, and then what else is known.
        """
        self._log(trial, error)
        self.say(f"{trial.name}: {headline(error)}; starting it again ({count})")
        self.screen.show(trial, "waiting")

    def fail(self, trial: Trial, error: str) -> None:
        """The trial failed; `error` is one line, and then the traceback."""
        self._log(trial, error)
        self.runs.fail(trial, error, "error")
        self.verdict.failed[trial.id] = error
        self.screen.show(trial, "failed")
        self.on_end()

    def infeasible(self, trial: Trial, error: str) -> None:
        """The trial's point needs more memory than there is."""
        self._log(trial, error)
        self.runs.fail(trial, error, "infeasible")
        self.verdict.infeasible[trial.id] = error
        self.screen.show(trial, "infeasible")
        self.on_end()

    def shrink(self, trial: Trial, resources: Resources) -> None:
        """The trial ran out of memory and starts again in smaller parts, with equal results."""
        self.runs.tag(trial, {"micro_batch": str(resources.micro_batch)})
        self.say(f"{trial.name}: out of memory; again with micro_batch {resources.micro_batch}")

    def hang(self, trial: Trial, seconds: float) -> None:
        """The trial has said nothing for too long, and its processes are ended."""
        self.runs.tag(trial, {"stalled": f"nothing was heard of it for {seconds:g} s"})
        self.say(f"{trial.name}: nothing heard for {seconds:g} s; starting it again")

    def say(self, line: str) -> None:
        """A line for whoever watches."""
        self.screen.say(line)

    def _log(self, trial: Trial, error: str) -> None:
        """Keep what is known of an error beside the trial's checkpoints, after those before."""
        file = error_log(self.runs.folder(trial))
        with suppress(OSError):  # a full disk; the store has the error as well
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as log:
                log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {error.rstrip()}\n\n")

    def _close(self, trial: Trial, reason: str, shown: str) -> None:
        self.runs.close(trial, reason)
        self.screen.show(trial, shown)
        self.on_end()
