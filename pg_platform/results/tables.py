"""The comparison of a sweep's points, and the forms in which a table is kept."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import rich.table
from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from pg_platform.config.plan import Trial
from pg_platform.config.sweep import Metric
from pg_platform.results.statistics import Summary, summarise
from pg_platform.results.stored_run import StoredRun

_POOL = re.compile(r"top(\d+)_pool(\d+)$")
_WIDEST = 1000
_MEASURES = ("n", "mean", "sd", "ci_low", "ci_high", "chance", "failed", "best")


@dataclass(frozen=True)
class Table:
    """Named columns and rows of plain values, at full precision in `json` and `csv`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def json(self) -> str:
        """MLflow's form of a table; what is not a finite number or a text is null."""
        data = [[_jsonable(value) for value in row] for row in self.rows]
        return json.dumps({"columns": self.columns, "data": data}, allow_nan=False)

    def csv(self) -> str:
        """Comma-separated values with a header; None is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return text.getvalue()

    def printed(self) -> list[list[str]]:
        """The rows as a person reads them: four significant digits, None empty."""
        return [[_printed(value) for value in row] for row in self.rows]

    def markdown(self, padding: str = "") -> str:
        """A Markdown table of the printed rows, with `padding` on both sides of each cell."""
        rule = "| " + " | ".join("---" for _ in self.columns) + " |"
        head, *rows = (_markdown_row(row, padding) for row in [self.columns, *self.printed()])
        return "\n".join([head, rule, *rows])


@dataclass(frozen=True)
class Point:
    """One point of a sweep and what its seeds gave.

    `run_ids` are those of its finished trials. `failed` counts trials that failed or gave no finite
    result, `open` those that have not ended.
    """

    group: str
    values: dict[str, Any]
    run_ids: tuple[str, ...]
    summary: Summary
    failed: int
    open: int


@dataclass(frozen=True)
class Comparison:
    """The points of a sweep in the order of its plan, compared by one metric."""

    metric: Metric
    points: tuple[Point, ...]

    @property
    def chance(self) -> float | None:
        """What guessing gives; None where that is not known."""
        return chance(self.metric.name)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Dotted keys of what varies."""
        return tuple(dict.fromkeys(key for point in self.points for key in point.values))

    def table(self) -> Table:
        """A row per point: its values, the summary over seeds, chance, and the best one marked."""
        first = self.ranked()[:1]
        rows = tuple(
            (
                *(point.values.get(key) for key in self.parameters),
                *(point.summary.n, point.summary.mean, point.summary.sd),
                *(point.summary.low, point.summary.high, self.chance, point.failed),
                "*" if point in first else "",
            )
            for point in self.points
        )
        return Table((*map(self._heading, self.parameters), *_MEASURES), rows)

    def _heading(self, key: str) -> str:
        """The last part of a dotted key, or all of it: MLflow shows no column with a dot."""
        last = key.rpartition(".")[2]
        alike = [other for other in self.parameters if other.rpartition(".")[2] == last]
        return last if len(alike) == 1 else key.replace(".", "/")

    def ranked(self) -> list[Point]:
        """The points that have a mean, the best first; equals in the order of the plan."""
        return sorted((p for p in self.points if p.summary.n), key=partial(_rank, self.metric))


def compare(trials: Sequence[Trial], runs: Mapping[str, StoredRun], metric: Metric) -> Comparison:
    """Compares the last value of `metric` of the trials' finished runs, found by trial id."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    points = tuple(_point(members, runs, metric) for members in groups.values())
    return Comparison(metric, points)


def chance(metric: str) -> float | None:
    """Accuracy of a guess: k/pool for a metric named topk_poolN, else None."""
    match = _POOL.search(metric)
    return int(match[1]) / int(match[2]) if match else None


def print_table(comparison: Comparison) -> None:
    """Prints the comparison to the terminal, the best point in bold."""
    table = comparison.table()
    shown = rich.table.Table(title=comparison.metric.name, title_justify="left", box=SIMPLE)
    for column in table.columns:
        shown.add_column(column, justify="right")
    for row in table.printed():
        shown.add_row(*map(Text, row), style="bold" if row[-1] else "")
    console = Console()
    # A narrow terminal wraps the lines; it never gets to cut a number short.
    console.width = max(console.width, Console(width=_WIDEST).measure(shown).maximum)
    console.print(shown)


def _point(members: Sequence[Trial], runs: Mapping[str, StoredRun], metric: Metric) -> Point:
    ended = [runs[trial.id] for trial in members if trial.id in runs]
    finished = [run for run in ended if run.status == "FINISHED"]
    failed = sum(run.status == "FAILED" for run in ended)
    summary = summarise(run.metrics.get(metric.name, math.nan) for run in finished)
    return Point(
        group=members[0].group,
        values=members[0].point,
        run_ids=tuple(run.run_id for run in finished),
        summary=summary,
        failed=failed + summary.excluded,
        open=len(members) - len(finished) - failed,
    )


def _markdown_row(cells: Iterable[str], padding: str) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(f"{padding}{cell}{padding}" for cell in escaped) + " |"


def _rank(metric: Metric, point: Point) -> float:
    assert point.summary.mean is not None, "only points with a result are ranked"
    return -point.summary.mean if metric.goal == "maximize" else point.summary.mean


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def _printed(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
