"""The live table of a sweep in the terminal; one line an event where there is no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pg_platform.sweep.trials import Trial
from pg_platform.training.history import Row

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


@dataclass
class _Line:
    name: str
    epochs: int
    state: str = "waiting"
    epoch: str = ""
    value: str = ""
    speed: str = ""


class Screen:
    """States and latest values of all trials; a context manager."""

    def __init__(self, trials: Sequence[Trial], metric: str) -> None:
        self.metric = metric
        self.lines = {t.id: _Line(t.name, t.experiment.epochs) for t in trials}
        self.console = Console(highlight=False)
        self.live = Live(
            get_renderable=self._table, console=self.console, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
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
        line.state = state
        if not self.console.is_terminal:
            self._tell(line)

    def say(self, text: str) -> None:
        """A line above the table, which stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def states(self) -> list[dict[str, str]]:
        """What the table shows, trial by trial."""
        return [
            {"name": o.name, "state": o.state, "epoch": o.epoch, "value": o.value}
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

    def _tell(self, line: _Line) -> None:
        value = f"  {self.metric} {line.value}" if line.value else ""
        done = sum(other.state in {"finished", "reused"} for other in self.lines.values())
        self.console.print(
            f"[{done}/{len(self.lines)}] {line.name}  {line.state} {line.epoch}{value}",
            markup=False,
            soft_wrap=True,
        )

    def _table(self) -> Table:
        table = Table(title=self._counts(), title_justify="left", box=None, pad_edge=False)
        for column in ("trial", "state", "epoch", self.metric, "images/s"):
            table.add_column(column, justify="left" if column in {"trial", "state"} else "right")
        # What moves stands on top; a long sweep shows that part only.
        rank = {state: i for i, state in enumerate(("running", "failed", "interrupted", "waiting"))}
        lines = sorted(self.lines.values(), key=lambda line: rank.get(line.state, len(rank)))
        for line in lines[:_ROWS_SHOWN]:
            state = Text(line.state, style=_STYLES[line.state])
            table.add_row(line.name, state, line.epoch, line.value, line.speed)
        return table

    def _counts(self) -> str:
        states = [line.state for line in self.lines.values()]
        return ", ".join(f"{states.count(s)} {s}" for s in _STYLES if s in states)
