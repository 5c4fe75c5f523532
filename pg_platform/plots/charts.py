"""Figures of evaluations: bars with intervals, a matrix as a heat map, a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from pg_platform.plots.style import COLOURS, STYLE, canvas, figure, headline

Interval = tuple[float, float, float]
"""Mean, low, high."""


def bars(values: Mapping[str, Interval], *, metric: str, chance: float) -> Figure:
    """A bar for each named value with its interval, and the level of guessing; top to bottom."""
    with figure((7.5, 1.2 + 0.32 * len(values))) as drawing:
        axes = drawing.add_subplot()
        names = list(values)
        means = [mean for mean, _, _ in values.values()]
        below = [mean - min(low, mean) for mean, low, _ in values.values()]
        above = [max(high, mean) - mean for mean, _, high in values.values()]
        axes.barh(names, means, xerr=[below, above], color="#56B4E9", ecolor="0.2", capsize=3)
        axes.axvline(chance, color="0.4", linewidth=1, linestyle=":", label="chance")
        axes.invert_yaxis()
        axes.set_xlabel(metric)
        axes.legend(loc="lower right")
    return drawing


def heat_map(rows: Sequence[Sequence[float | None]], names: Sequence[str], *, title: str) -> Figure:
    """A square matrix of numbers from 0 to 1; None is left white. Rows speak, columns listen."""
    side = 2.4 + 0.75 * len(names)
    with figure((side + 1, side)) as drawing:
        axes = drawing.add_subplot()
        numbers = [[float("nan") if v is None else v for v in row] for row in rows]
        axes.grid(visible=False)
        image = axes.imshow(numbers, vmin=0, vmax=1, cmap="viridis")
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                if value is not None:
                    colour = "white" if value < 0.6 else "black"
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("listener of")
        axes.set_ylabel("speaker of")
        axes.set_title(title, fontsize=10, loc="left", color="0.3")
        drawing.colorbar(image, ax=axes, shrink=0.8)
    return drawing


def curve(
    points: Sequence[tuple[float, float]], *, x: str, y: str, levels: Mapping[str, float]
) -> Figure:
    """Points joined in their order, and named horizontal levels."""
    with figure((6.5, 3.8)) as drawing:
        axes = drawing.add_subplot()
        axes.plot(*zip(*points, strict=True), color="#0072B2", marker="o")
        for (name, level), dashes in zip(levels.items(), (":", "--", "-."), strict=False):
            axes.axhline(level, color="0.4", linewidth=1, linestyle=dashes, label=name)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
    return drawing


_RATIOS = (0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000)


def importance_bars(importances: Mapping[str, float]) -> Figure:
    """The share of each parameter in the variance of the means, the largest on top."""
    names = sorted(importances, key=lambda name: importances[name])
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = canvas(7.5, 1.3 + 0.4 * max(1, len(names)))
        bars = axes.barh(names, [importances[name] for name in names], color=COLOURS[0])
        axes.bar_label(bars, [f"{100 * importances[name]:.0f} %" for name in names], padding=4)
        axes.set_xlim(0, 1.1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.set_xlabel("share of the variance between points")
        if not names:
            headline(axes, "not known")
    return figure


def forecast_against_actual(pairs: Mapping[str, tuple[float, float]]) -> Figure:
    """Actual over forecast by name, a row each on a logarithmic axis, against the line at 1.

    `pairs` are (forecast, actual) in one unit each, all above 0 (ValueError). Ratios let seconds
    stand beside bytes.
    """
    for name, pair in pairs.items():
        if min(pair) <= 0:
            raise ValueError(f"{name} wants forecast and actual above 0, got {pair}")
    ratios = {name: actual / forecast for name, (forecast, actual) in reversed(list(pairs.items()))}
    with matplotlib.rc_context(STYLE):
        figure, axes = canvas(7.5, 1.5 + 0.5 * max(1, len(ratios)))
        axes.axvline(1, color="0.3", linewidth=1)
        for row, ratio in enumerate(ratios.values()):
            axes.plot([1, ratio], [row, row], color=COLOURS[0], linestyle="--")
            axes.plot(ratio, row, marker="o", markersize=8, color=COLOURS[0])
            axes.annotate(
                f"{ratio:.2f}x", (ratio, row), (0, 8), textcoords="offset points", ha="center"
            )
        far = max([2.0, *(1.3 * max(ratio, 1 / ratio) for ratio in ratios.values())])
        axes.set_xscale("log")
        axes.set_xlim(1 / far, far)
        axes.xaxis.set_major_locator(FixedLocator([t for t in _RATIOS if 1 / far <= t <= far]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FormatStrFormatter("%gx"))
        axes.set_yticks(range(len(ratios)), list(ratios))
        axes.set_ylim(-0.5, max(1, len(ratios)) - 0.3)
        axes.set_xlabel("actual / forecast")
        headline(axes, "right of the line: more than forecast" if ratios else "no forecast")
    return figure
