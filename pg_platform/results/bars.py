"""Figures with a row per name: importances of parameters, forecasts beside what came."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from pg_platform.results.figures import COLOURS, STYLE, canvas, headline

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
