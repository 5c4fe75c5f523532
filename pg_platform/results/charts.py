"""Figures of evaluations: bars with intervals, a matrix as a heat map, a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pg_platform.results.figures import figure

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
