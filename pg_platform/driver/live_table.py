"""The live table of a sweep in the terminal; one line an event where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pg_platform.driver.forecast import clock
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import Heartbeat, Row

Output = Literal["quiet", "lines", "table", "verbose"]
"""What is shown of trials while they run: warnings only, on stderr; a line an event; a table where
stdout is a terminal, else lines; a line for each event, epoch and heartbeat."""

_STYLES = {
    "waiting": "dim",
    "running": "bold",
    "finished": "green",
    "reused": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "infeasible": "red",
    "paused": "dim",
    "pruned": "yellow",
}
_ROWS_SHOWN = 30
HEARTBEAT_LINE_SECONDS = 60.0
"""How often a line, where there is no table, tells how far a trial has come."""


@dataclass
class _Line:
    name: str
    epochs: int
    state: str = "waiting"
    epoch: str = ""
    step: str = ""
    value: str = ""
    speed: str = ""
    left: str = ""
    told_at: float = 0.0


class LiveTable:
    """States and latest values of all trials; a context manager."""

    def __init__(
        self,
        trials: Sequence[Trial],
        metric: str,
        output: Output = "table",
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metric, self.output, self.seconds = metric, output, seconds
        self.lines = {t.id: _Line(t.name, t.experiment.epochs) for t in trials}
        self.console = Console(highlight=False, stderr=output == "quiet")
        self.live = Live(
            get_renderable=self._table, console=self.console, refresh_per_second=2, transient=True
        )

    @property
    def is_table(self) -> bool:
        """Whether there is a table, and so no lines."""
        return self.output == "table" and self.console.is_terminal

    def __enter__(self) -> Self:
        if self.is_table:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """The table is taken away, and the terminal is as it was."""
        self.live.stop()

    def show(self, trial: Trial, state: str) -> None:
        """A trial changed its state; one that was not there before gets a line."""
        line = self.lines.setdefault(trial.id, _Line(trial.name, trial.experiment.epochs))
        line.state, line.told_at = state, self.seconds()
        line.step = line.left = ""
        value = f"  {self.metric} {line.value}" if line.value else ""
        done = sum(other.state in {"finished", "reused"} for other in self.lines.values())
        self._tell(f"[{done}/{len(self.lines)}] {line.name}  {line.state} {line.epoch}{value}")

    def say(self, text: str) -> None:
        """A line above the table, which stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def states(self) -> list[dict[str, str]]:
        """What the table shows, trial by trial."""
        return [
            {"name": o.name, "state": o.state, "epoch": o.epoch, "value": o.value}
            | ({"step": o.step, "left": o.left} if o.step else {})
            for o in self.lines.values()
        ]

    def progress(self, trial_id: str, row: Row) -> None:
        """A trial reported a row."""
        line = self.lines[trial_id]
        line.epoch = f"{row.epoch}/{line.epochs}"
        if self.metric in row.metrics:
            line.value = f"{row.metrics[self.metric]:.4f}"
        if "perf/images_per_s" in row.metrics:
            line.speed = f"{row.metrics['perf/images_per_s']:.0f}"
        if self.output == "verbose":
            names = ("train/loss", self.metric)
            told = "".join(f"  {n} {row.metrics[n]:.4f}" for n in names if n in row.metrics)
            self._tell(f"{line.name}  epoch {line.epoch}{told}  {line.speed} images/s")

    def beat(self, trial_id: str, beat: Heartbeat) -> None:
        """A trial tells how far it has come inside an epoch."""
        line, now = self.lines[trial_id], self.seconds()
        line.step = f"{beat.step}/{beat.steps}"
        line.speed = f"{beat.images_per_s:.0f}"
        line.left = clock(beat.seconds_left)
        if self.output == "verbose" or now - line.told_at >= HEARTBEAT_LINE_SECONDS:
            line.told_at = now
            self._tell(
                f"{line.name}  epoch {beat.epoch}/{line.epochs}, step {line.step}, "
                f"{line.speed} images/s, {line.left} left"
            )

    def _tell(self, text: str) -> None:
        if not self.is_table and self.output != "quiet":
            self.say(text)

    def _table(self) -> Table:
        table = Table(title=self._counts(), title_justify="left", box=None, pad_edge=False)
        for column in ("trial", "state", "epoch", "step", self.metric, "images/s", "left"):
            table.add_column(column, justify="left" if column in {"trial", "state"} else "right")
        # What moves stands on top; a long sweep shows that part only.
        rank = {state: i for i, state in enumerate(("running", "failed", "interrupted", "waiting"))}
        lines = sorted(self.lines.values(), key=lambda line: rank.get(line.state, len(rank)))
        for line in lines[:_ROWS_SHOWN]:
            state = Text(line.state, style=_STYLES[line.state])
            cells = (line.epoch, line.step, line.value, line.speed, line.left)
            table.add_row(line.name, state, *cells)
        return table

    def _counts(self) -> str:
        states = [line.state for line in self.lines.values()]
        return ", ".join(f"{states.count(s)} {s}" for s in _STYLES if s in states)
