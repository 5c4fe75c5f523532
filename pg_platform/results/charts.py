"""Figures of evaluations: bars with intervals, a matrix as a heat map, a curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pg_platform.results.figures import STYLE

Interval = tuple[float, float, float]
"""Mean, low, high."""


def bars(values: Mapping[str, Interval], *, metric: str, chance: float) -> Figure:
    """A bar for each named value with its interval, and the level of guessing; top to bottom."""
    figure = Figure(figsize=(7.5, 1.2 + 0.32 * len(values)), dpi=110, layout="constrained")
    with _axes(figure) as axes:
        names = list(values)
        means = [mean for mean, _, _ in values.values()]
        below = [mean - min(low, mean) for mean, low, _ in values.values()]
        above = [max(high, mean) - mean for mean, _, high in values.values()]
        axes.barh(names, means, xerr=[below, above], color="#56B4E9", ecolor="0.2", capsize=3)
        axes.axvline(chance, color="0.4", linewidth=1, linestyle=":", label="chance")
        axes.invert_yaxis()
        axes.set_xlabel(metric)
        axes.legend(loc="lower right")
    return figure


def heat_map(rows: Sequence[Sequence[float | None]], names: Sequence[str], *, title: str) -> Figure:
    """A square matrix of numbers from 0 to 1; None is left white. Rows speak, columns listen."""
    side = 2.4 + 0.75 * len(names)
    figure = Figure(figsize=(side + 1, side), dpi=110, layout="constrained")
    with _axes(figure) as axes:
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
        figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def curve(
    points: Sequence[tuple[float, float]], *, x: str, y: str, levels: Mapping[str, float]
) -> Figure:
    """Points joined in their order, and named horizontal levels."""
    figure = Figure(figsize=(6.5, 3.8), dpi=110, layout="constrained")
    with _axes(figure) as axes:
        axes.plot(*zip(*points, strict=True), color="#0072B2", marker="o")
        for (name, level), dashes in zip(levels.items(), (":", "--", "-."), strict=False):
            axes.axhline(level, color="0.4", linewidth=1, linestyle=dashes, label=name)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
    return figure


@contextmanager
def _axes(figure: Figure) -> Iterator[Axes]:
    """The only axes of a figure, in the house's style."""
    with matplotlib.rc_context(STYLE):
        yield figure.add_subplot()
