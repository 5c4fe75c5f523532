"""The comparison of a sweep's points, and the forms in which a table is kept."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rich.table
from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from pg_platform.config.plan import Trial
from pg_platform.config.sweep import Metric
from pg_platform.results.codes import Codes, code_of, is_mixed, of_seeds
from pg_platform.results.latex import tabular
from pg_platform.results.measure import AREA, threshold
from pg_platform.results.points import Contrast, History, Point, Verdict, contrasts, gather
from pg_platform.results.stored_run import StoredRun

__all__ = ["Comparison", "Point", "Table", "chance", "compare", "print_table"]

_POOL = re.compile(r"top(\d+)_pool(\d+)$")
_WIDEST = 1000
_MEASURES = ("n", "mean", "sd", "ci_low", "ci_high", "chance")
_DIFFERENCES = ("difference", "diff_low", "diff_high", "p", "verdict")
_SHORT = ("n", "mean", "sd", "95 % interval", "difference", "p", "verdict", "best")


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

    def latex(self) -> str:
        """A LaTeX tabular; it wants the package booktabs."""
        return tabular(self.columns, self.rows)


@dataclass(frozen=True)
class Comparison:
    """The points of a sweep in the order of its plan, compared by one metric.

    `baseline`, one of the points, is what the others are told apart from.
    """

    metric: Metric
    points: tuple[Point, ...]
    baseline: Point
    codes: Codes = field(default_factory=dict)
    """The code of each result; a table that mixes codes has a column for them."""

    @property
    def chance(self) -> float | None:
        """What guessing gives; None where that is not known."""
        return chance(self.metric.name)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Dotted keys of what varies."""
        return tuple(dict.fromkeys(key for point in self.points for key in point.values))

    def against(self, reference: Point) -> dict[str, Contrast]:
        """Every other point less `reference`, by group, p corrected over all of them."""
        return contrasts(self.points, reference, self.metric)

    def table(self) -> Table:
        """A row per point: values, summary over seeds, difference to the baseline, counts.

        Differences are over the seeds finished at both points; `p` is Holm-corrected.
        """
        found, counts, best = self.against(self.baseline), self._counts(), self.ranked()[:1]
        rows = tuple(
            (
                *self._named(point),
                *(point.summary.n, point.summary.mean, point.summary.sd),
                *(point.summary.low, point.summary.high, self.chance),
                *_differences(found.get(point.group)),
                *counts[point.group].values(),
                "*" if point in best else "",
            )
            for point in self.points
        )
        counted = tuple(counts[self.baseline.group])
        return Table((*self._headings(), *_MEASURES, *_DIFFERENCES, *counted, "best"), rows)

    def short(self) -> Table:
        """What fits a terminal: the interval in one column, no counts, no bounds of differences."""
        found, best = self.against(self.baseline), self.ranked()[:1]
        rows = tuple(
            (
                *self._named(point),
                *(point.summary.n, point.summary.mean, point.summary.sd, _interval(point)),
                *_without_bounds(found.get(point.group)),
                "*" if point in best else "",
            )
            for point in self.points
        )
        return Table((*self._headings(), *_SHORT), rows)

    def _counts(self) -> dict[str, dict[str, int]]:
        """By group, the trials without a result, by column."""
        no_threshold = threshold(self.metric.name) is None
        return {
            p.group: {"failed": p.failed, "infeasible": p.infeasible, "pruned": p.pruned}
            | ({} if no_threshold else {"unreached": p.unreached})
            for p in self.points
        }

    def _named(self, point: Point) -> tuple[Any, ...]:
        """A point's values, after its code where the table has several."""
        values = tuple(point.values.get(key) for key in self.parameters)
        return (of_seeds(self.codes.get(point.group, {})), *values) if self._mixed else values

    @property
    def _mixed(self) -> bool:
        return is_mixed(self.codes)

    def _headings(self) -> tuple[str, ...]:
        first = ("code",) if self._mixed else ()
        return (*first, *map(self._heading, self.parameters))

    def _heading(self, key: str) -> str:
        """The last part of a dotted key, or all of it: MLflow shows no column with a dot."""
        last = key.rpartition(".")[2]
        alike = [other for other in self.parameters if other.rpartition(".")[2] == last]
        return last if len(alike) == 1 else key.replace(".", "/")

    def ranked(self) -> list[Point]:
        """The points that have a mean, the best first; equals in the order of the plan."""
        return sorted((p for p in self.points if p.summary.n), key=partial(_rank, self.metric))


def compare(
    trials: Sequence[Trial],
    runs: Mapping[str, StoredRun],
    metric: Metric,
    baseline: Mapping[str, Any] | None = None,
    history: History | None = None,
) -> Comparison:
    """Compares the results of the trials' finished runs, found by trial id.

    A result is the last value of `metric`, or what measure.py derives from its `history`.
    `baseline` has the values of one point; None stands for the first of the plan. ValueError
    where no point has them.
    """
    points = gather(trials, runs, metric, history)
    assert points, "a plan has at least one point"
    return Comparison(metric, points, _baseline(points, baseline), _codes(trials, runs))


def chance(metric: str) -> float | None:
    """Accuracy of a guess: k/pool for a metric named topk_poolN or its area, else None."""
    match = _POOL.search(metric.removesuffix(AREA))
    return int(match[1]) / int(match[2]) if match else None


def print_table(comparison: Comparison) -> None:
    """Prints the short table to the terminal, the best point in bold."""
    table = comparison.short()
    shown = rich.table.Table(title=comparison.metric.name, title_justify="left", box=SIMPLE)
    for column in table.columns:
        shown.add_column(column, justify="right")
    for row in table.printed():
        shown.add_row(*map(Text, row), style="bold" if row[-1] else "")
    console = Console()
    # A narrow terminal wraps the lines; it never gets to cut a number short.
    console.width = max(console.width, Console(width=_WIDEST).measure(shown).maximum)
    console.print(shown)


def _codes(trials: Sequence[Trial], runs: Mapping[str, StoredRun]) -> Codes:
    """The code of each finished trial, by point and seed."""
    codes: dict[str, dict[int, str]] = {}
    for trial in trials:
        if trial.id in runs and runs[trial.id].status == "FINISHED":
            codes.setdefault(trial.group, {})[trial.seed] = code_of(runs[trial.id])
    return codes


def _baseline(points: Sequence[Point], wanted: Mapping[str, Any] | None) -> Point:
    if wanted is None:
        return points[0]
    for point in points:
        if _plain(point.values) == _plain(wanted):
            return point
    raise ValueError(
        f"baseline {dict(wanted)}: no point of the sweep has these values; "
        f"give all that varies, such as {points[0].values}"
    )


def _plain(values: Mapping[str, Any]) -> Any:
    """Values in which a list equals a tuple."""
    return json.loads(json.dumps(dict(values)))


def _differences(found: Contrast | None) -> tuple[float | Verdict | None, ...]:
    """The columns of differences; without a contrast the row is the baseline's."""
    if found is None:
        return None, None, None, None, "baseline"
    difference = found.difference
    return difference.mean, difference.low, difference.high, found.p, found.verdict


def _without_bounds(found: Contrast | None) -> tuple[float | Verdict | None, ...]:
    mean, _, _, p, verdict = _differences(found)
    return mean, p, verdict


def _interval(point: Point) -> str:
    low, high = point.summary.low, point.summary.high
    return "" if low is None else f"[{_printed(low)}, {_printed(high)}]"


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
