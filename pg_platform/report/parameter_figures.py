"""Figures of a sweep over its parameters: the results at their values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pg_platform.plots.style import COLOURS, STYLE, canvas, headline, looks
from pg_platform.report.axes import heights, in_order, is_log, mark, places, short
from pg_platform.report.comparison import Comparison
from pg_platform.report.learning_curves import MOST_CURVES
from pg_platform.report.points import PointResult
from pg_platform.sweep.trials import compact, short_labels

_NO_RESULT = "no result yet"
_WHITE_BELOW = 0.5
_ROOM = 0.07
_RIGHT: Any = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}

Bar = tuple[float, float, float]
"""(mean, low, high)."""


def final_by_parameter(comparison: Comparison, key: str, *, log: bool = False) -> Figure:
    """The final value against the parameter `key`, a line for each combination of the others.

    Bars are Student's 95 % interval over seeds. More than MOST_CURVES combinations become one
    line of their means, its bars the range of those; or dots, where no value comes twice. Numbers
    stand on an axis, logarithmic with `log` or where they are spread by 10 or more; other values
    stand side by side. Raises ValueError for `log` with values that are not all above 0.
    """
    points = [point for point in _with_result(comparison) if key in point.values]
    values = in_order(point.values[key] for point in points)
    at, lines = places(values), _lines(points, key)
    single, merged = len(values) == len(points), len(lines) > MOST_CURVES
    if merged and single:
        lines = {"points": {text: bar for line in lines.values() for text, bar in line.items()}}
    elif merged:
        lines = {f"mean of {len(lines)} combinations": _merged(lines.values())}
    with matplotlib.rc_context(STYLE):
        figure, axes = canvas()
        for (label, line), look in zip(lines.items(), looks(), strict=False):
            look |= {"linestyle": ""} if merged and single else {}
            _draw_line(axes, label, {at[text]: bar for text, bar in line.items()}, look)
        if comparison.chance is not None:
            axes.axhline(comparison.chance, color="0.4", linewidth=1, linestyle=":", label="chance")
        mark(axes, at, log=is_log(key, values, log=log))
        axes.set_xlabel(key)
        axes.set_ylabel(comparison.metric.name)
        headline(axes, _caption(points, merged=merged and not single))
        if axes.get_legend_handles_labels()[1]:
            axes.legend(**_RIGHT)
    return figure


def heat_map(comparison: Comparison, key_x: str, key_y: str) -> Figure:
    """The mean at each pair of values, written in its cell; over other parameters, their mean."""
    points = [p for p in _with_result(comparison) if {key_x, key_y} <= p.values.keys()]
    cells: dict[tuple[str, str], list[float]] = {}
    for point in points:
        cell = compact(point.values[key_x]), compact(point.values[key_y])
        cells.setdefault(cell, []).append(_mean(point))
    means = {cell: statistics.fmean(several) for cell, several in cells.items()}
    across, upward = (
        [compact(value) for value in in_order(point.values[key] for point in points)]
        for key in (key_x, key_y)
    )
    many = max(map(len, cells.values()), default=0)
    said = f"{comparison.metric.name}, mean over " + (
        f"seeds and up to {many} combinations of the others" if many > 1 else "seeds"
    )
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        size = max(5.0, 2.2 + 0.8 * len(across)), max(2.6, 1.5 + 0.5 * len(upward))
        figure, axes = canvas(*size)
        _draw_cells(axes, {(across.index(x), upward.index(y)): m for (x, y), m in means.items()})
        axes.set_xticks(range(len(across)), [short(text) for text in across])
        axes.set_yticks(range(len(upward)), [short(text) for text in upward])
        axes.set_xlabel(key_x)
        axes.set_ylabel(key_y)
        headline(axes, said if points else _NO_RESULT)
    return figure


def parallel_coordinates(comparison: Comparison) -> Figure:
    """A line per point across all parameters to its result; darker is better, the best thick."""
    keys, ranked = comparison.parameters, comparison.ranked()
    columns = {key: [_text(point, key) for point in ranked] for key in keys}
    scales = {key: heights([p.values[key] for p in ranked if key in p.values]) for key in keys}
    for key in keys:
        if None in columns[key]:
            scales[key]["-"] = -0.12
    results = [_mean(point) for point in ranked]
    low, high = min(results, default=0.0), max(results, default=0.0)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = canvas(max(6.0, 2.0 + 1.5 * len(keys)))
        for rank in reversed(range(len(ranked))):
            line = [scales[key][columns[key][rank] or "-"] for key in keys]
            end = (results[rank] - low) / (high - low) if high > low else 0.5
            shade = str(0.25 + 0.55 * rank / len(ranked))
            rest: dict[str, Any] = {"color": shade, "linewidth": 1.3}
            best: dict[str, Any] = {"color": COLOURS[1], "linewidth": 3.2, "marker": "o"}
            axes.plot([*line, end], **(rest if rank else best))
        for column, key in enumerate(keys):
            _write(axes, column, scales[key])
        _write(axes, len(keys), {f"{v:.4g}": float(v == high) for v in (low, high) if ranked})
        names = [*short_labels(keys).values(), comparison.metric.name]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.2, len(keys) + 0.45)
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        best_is = f"a line per point, darker is better; thick: {ranked[0].group}" if ranked else ""
        headline(axes, best_is or _NO_RESULT)
    return figure


def _with_result(comparison: Comparison) -> list[PointResult]:
    return [point for point in comparison.points if point.summary.n]


def _mean(point: PointResult) -> float:
    assert point.summary.mean is not None, "only points with a result are drawn"
    return point.summary.mean


def _text(point: PointResult, key: str) -> str | None:
    return compact(point.values[key]) if key in point.values else None


def _lines(points: Sequence[PointResult], key: str) -> dict[str, dict[str, Bar]]:
    """Bars by the text of the value of `key`, by the combination of the other parameters."""
    names = short_labels(list(dict.fromkeys(name for point in points for name in point.values)))
    lines: dict[str, dict[str, Bar]] = {}
    for point in points:
        others = [name for name in point.values if name != key]
        label = " ".join(f"{names[name]}={compact(point.values[name])}" for name in others)
        mean, low, high = _mean(point), point.summary.low, point.summary.high
        bar = (mean, mean, mean) if low is None or high is None else (mean, low, high)
        lines.setdefault(label, {})[compact(point.values[key])] = bar
    return lines


def _merged(lines: Iterable[Mapping[str, Bar]]) -> dict[str, Bar]:
    """At each value the mean of the lines' means, and the range of those."""
    means: dict[str, list[float]] = {}
    for line in lines:
        for text, (mean, _, _) in line.items():
            means.setdefault(text, []).append(mean)
    return {text: (statistics.fmean(m), min(m), max(m)) for text, m in means.items()}


def _draw_line(axes: Axes, label: str, line: Mapping[float, Bar], look: dict[str, Any]) -> None:
    xs = sorted(line)
    means, lows, highs = zip(*(line[x] for x in xs), strict=True)
    below, above = np.subtract(means, lows), np.subtract(highs, means)
    axes.errorbar(xs, means, (below, above), label=label, capsize=3, elinewidth=1, **look)


def _caption(points: Sequence[PointResult], *, merged: bool) -> str:
    if not points:
        return _NO_RESULT
    few, many = min(p.summary.n for p in points), max(p.summary.n for p in points)
    if merged:
        return "mean over the other parameters; bar: the range of their means"
    if many == 1:
        return "one seed per point: no bar"
    number = f"{few}" if few == many else f"{few} to {many}"
    return f"mean over {number} seeds; bar: 95 % interval of the mean"


def _draw_cells(axes: Axes, cells: Mapping[tuple[int, int], float]) -> None:
    """A grid of shades with numbers; a pair without a result is a dash on white."""
    if not cells:
        return
    grid = np.full([1 + max(cell[i] for cell in cells) for i in (1, 0)], np.nan)
    for (x, y), value in cells.items():
        grid[y, x] = value
    low, high = np.nanmin(grid), np.nanmax(grid)
    across, upward = (np.arange(grid.shape[i] + 1) - 0.5 for i in (1, 0))
    axes.pcolormesh(across, upward, grid, cmap="cividis", edgecolors="white", linewidth=1.5)
    for (y, x), value in np.ndenumerate(grid):
        shade = (value - low) / (high - low) if high > low else 0.0
        colour = "black" if np.isnan(value) or shade > _WHITE_BELOW else "white"
        text = "-" if np.isnan(value) else f"{value:.4g}"
        axes.text(x, y, text, ha="center", va="center", color=colour)


def _write(axes: Axes, column: int, scale: Mapping[str, float]) -> None:
    """An upright axis with its values beside it, as many as have room."""
    axes.axvline(column, color="0.3", linewidth=1, zorder=0)
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    written = -math.inf
    for text, at in sorted(scale.items(), key=lambda item: item[1]):
        if at - written >= _ROOM:
            axes.text(column + 0.03, at, short(text), fontsize=9, va="center", bbox=box, zorder=5)
            written = at
