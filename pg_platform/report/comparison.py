"""The comparison of a sweep's points, and the forms in which a table is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rich.table
from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from pg_platform.config.metrics import threshold
from pg_platform.report.chance import above_chance, chance
from pg_platform.report.points import (
    Difference,
    History,
    PointResult,
    Verdict,
    contrasts,
    fate,
    gather,
    resolution_of,
    result,
)
from pg_platform.report.statistics import ALPHA, Resolution, holm, told
from pg_platform.store.codes import Codes, code_of, is_mixed, of_seeds
from pg_platform.store.stored_run import StoredRun
from pg_platform.store.table import P, Table, _printed
from pg_platform.sweep.load import Metric
from pg_platform.sweep.trials import Trial

__all__ = ["Comparison", "PointResult", "Table", "chance", "compare", "print_table"]


_WIDEST = 1000


_MEASURES = ("n", "mean", "sd", "ci_low", "ci_high", "chance")


_DIFFERENCES = ("difference", "diff_low", "diff_high", P, "verdict")


_SHORT = ("n", "mean", "sd", "95 % interval", "difference", P, "verdict", "best")


@dataclass(frozen=True)
class Comparison:
    """The points of a sweep in the order of its plan, compared by one metric.

    `baseline`, one of the points, is what the others are told apart from, `resolution` how finely
    their results are measured.
    """

    metric: Metric
    points: tuple[PointResult, ...]
    baseline: PointResult
    resolution: Resolution = field(default_factory=Resolution)
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

    @property
    def is_guessing(self) -> bool:
        """Whether there are results, and none of the points is told apart from guessing."""
        return self._p_of_guessing is not None and self._p_of_guessing >= ALPHA

    @property
    def cautions(self) -> tuple[str, ...]:
        """What has to be told before anything else."""
        return tuple(filter(None, (self._nothing_learned(), self.metric.warning)))

    def against(self, reference: PointResult) -> dict[str, Difference]:
        """Every other point less `reference`, by group, p corrected over all of them."""
        return contrasts(self.points, reference, self.metric, self.resolution)

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
        headings = (*self._headings(), *_MEASURES, *_DIFFERENCES, *counted, "best")
        return Table(headings, rows, self.cautions)

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

    @property
    def _p_of_guessing(self) -> float | None:
        """That of the clearest point, corrected for their number; None where it is not known."""
        found = [
            above_chance(list(point.results.values()), self.metric.name, self.resolution)
            for point in self.points
            if point.results and self.chance is not None
        ]
        return min(holm(found)) if found else None

    def _nothing_learned(self) -> str | None:
        p = self._p_of_guessing
        if not self.is_guessing or p is None:
            return None
        most = max(p.summary.mean for p in self.points if p.summary.mean is not None)
        so_far = " so far" if any(point.open for point in self.points) else ""
        return (
            f"Nothing was learned{so_far}: no point is told apart from chance. A guess has "
            f"{self.metric.name} {self.chance:.3g}, the highest mean is {most:.3g} (p {told(p)})."
        )

    def _counts(self) -> dict[str, dict[str, int]]:
        """By group, the trials without a result, by column."""
        no_threshold = threshold(self.metric.name) is None
        return {
            p.group: {"failed": p.failed, "infeasible": p.infeasible, "pruned": p.pruned}
            | ({} if no_threshold else {"unreached": p.unreached})
            for p in self.points
        }

    def _named(self, point: PointResult) -> tuple[Any, ...]:
        """A point's values, after its code where the table has several."""
        values = tuple(point.values.get(key) for key in self.parameters)
        return (of_seeds(self.codes.get(point.group, {})), *values) if self._mixed else values

    @property
    def _mixed(self) -> bool:
        return is_mixed(self.codes)

    def _headings(self) -> tuple[str, ...]:
        first = ("code",) if self._mixed else ()
        return (*first, *headings(self.parameters))

    def ranked(self) -> list[PointResult]:
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
    resolution = resolution_of(metric.name, trials, runs)
    return Comparison(metric, points, _baseline(points, baseline), resolution, _codes(trials, runs))


def trial_table(
    trials: Sequence[Trial],
    runs: Mapping[str, StoredRun],
    metric: Metric,
    history: History | None = None,
) -> Table:
    """A row per trial: what it is, how it stands, its result and all that it reported last.

    What has not been measured is None.
    """
    keys = tuple(dict.fromkeys(key for trial in trials for key in trial.point))
    reported = {name for run in runs.values() for name in run.metrics} - {metric.name}
    names = sorted(name for name in reported if not name.startswith("by_images/"))
    first = ("trial", "id", "run_id", "state")
    rows = []
    for trial in trials:
        run = runs.get(trial.id)
        value = None if run is None else result(run, metric.name, history)
        rows.append(
            (
                *(trial.name, trial.id, run and run.run_id, "open" if run is None else fate(run)),
                *(trial.point.get(key) for key in keys),
                *(trial.seed, value),
                *(None if run is None else run.metrics.get(name) for name in names),
            )
        )
    return Table((*first, *headings(keys), "seed", metric.name, *names), tuple(rows))


def headings(keys: Sequence[str]) -> tuple[str, ...]:
    """The last part of each dotted key, or all of it: MLflow shows no column with a dot."""
    last = [key.rpartition(".")[2] for key in keys]
    pairs = zip(last, keys, strict=True)
    return tuple(n if last.count(n) == 1 else key.replace(".", "/") for n, key in pairs)


def print_table(comparison: Comparison) -> None:
    """Prints the short table to the terminal, the best point in bold."""
    table = comparison.short()
    better = "larger" if comparison.metric.goal == "maximize" else "smaller"
    title = f"{comparison.metric.name}, {better} is better"
    shown = rich.table.Table(title=title, title_justify="left", box=SIMPLE)
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


def _baseline(points: Sequence[PointResult], wanted: Mapping[str, Any] | None) -> PointResult:
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


def _differences(found: Difference | None) -> tuple[float | Verdict | None, ...]:
    """The columns of differences; without a contrast the row is the baseline's."""
    if found is None:
        return None, None, None, None, "baseline"
    difference = found.difference
    return difference.mean, difference.low, difference.high, found.p, found.verdict


def _without_bounds(found: Difference | None) -> tuple[float | Verdict | None, ...]:
    mean, _, _, p, verdict = _differences(found)
    return mean, p, verdict


def _interval(point: PointResult) -> str:
    low, high = point.summary.low, point.summary.high
    return "" if low is None else f"[{_printed(low)}, {_printed(high)}]"


def _rank(metric: Metric, point: PointResult) -> float:
    assert point.summary.mean is not None, "only points with a result are ranked"
    return -point.summary.mean if metric.goal == "maximize" else point.summary.mean
