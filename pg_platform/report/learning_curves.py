"""Figures in one style, drawn without pyplot's global state."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from pg_platform.plots.style import figure, headline, looks
from pg_platform.report.statistics import Resolution, summarise

History = Sequence[tuple[int, float]]
"""(images seen, value), by images seen."""


MOST_CURVES = 12


@dataclass(frozen=True)
class Curve:
    """A point's metric against images seen: the mean over seeds, and a band around it.

    The band is Student's 95 % interval of the mean at three seeds or more. At two that interval
    is 13 standard errors wide and hides the curves, so the band is the range of the two; at one
    it is the line itself.
    """

    label: str
    seeds: int
    images: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def mean_curve(
    label: str, histories: Sequence[History], resolution: Resolution | None = None
) -> Curve | None:
    """The curve over the images at which every seed has a finite value; None without any."""
    seeds = [{at: value for at, value in seed if math.isfinite(value)} for seed in histories]
    shared = sorted(set.intersection(*map(set, seeds))) if seeds else []
    if not shared:
        return None
    values = [[seed[at] for seed in seeds] for at in shared]
    low, high = zip(*(_band(several, resolution) for several in values), strict=True)
    mean = tuple(statistics.fmean(several) for several in values)
    return Curve(label, len(seeds), tuple(shared), mean, low, high)


def learning_curves(
    curves: Sequence[Curve], *, metric: str, chance: float | None, left_out: int = 0
) -> Figure:
    """`metric` against images seen, a line per point, with the level of guessing where known.

    More than MOST_CURVES lines cannot be told apart: the caption tells how many are left out.
    """
    assert len(curves) <= MOST_CURVES, f"{len(curves)} curves in one figure"
    with figure((7.5, 4.2)) as drawing:
        axes = drawing.add_subplot()
        for curve, look in zip(curves, looks(), strict=False):
            _draw(axes, curve, look)
        if chance is not None:
            axes.axhline(chance, color="0.4", linewidth=1, linestyle=":", label="chance")
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, 0), min(high, 1))
        axes.set_xlim(left=0)
        axes.set_xlabel("images seen")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_ylabel(metric)
        headline(axes, caption(curves, left_out))
        if curves:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return drawing


def caption(curves: Sequence[Curve], left_out: int) -> str:
    """What the lines and bands of a figure are, and how many points it leaves out."""
    if not curves:
        return "no trial has finished yet"
    rest = f"; {left_out} points below the best {len(curves)} left out" if left_out else ""
    return _bands(curves) + rest


def _bands(curves: Sequence[Curve]) -> str:
    few, many = min(c.seeds for c in curves), max(c.seeds for c in curves)
    if many == 1:
        return "one seed per point: no band"
    number = f"{few}" if few == many else f"{few} to {many}"
    bands = {
        "the range of two seeds": any(c.seeds == 2 for c in curves),
        "95 % interval of the mean": many >= 3,
    }
    return f"mean over {number} seeds; band: " + " or ".join(
        b for b, drawn in bands.items() if drawn
    )


def _band(values: Sequence[float], resolution: Resolution | None) -> tuple[float, float]:
    summary = summarise(values, resolution)
    if len(values) < 3 or summary.low is None or summary.high is None:
        return min(values), max(values)
    return summary.low, summary.high


def _draw(axes: Axes, curve: Curve, look: dict[str, Any]) -> None:
    every = max(1, len(curve.images) // 10)
    axes.plot(curve.images, curve.mean, label=curve.label, markevery=every, **look)
    axes.fill_between(
        curve.images, curve.low, curve.high, color=look["color"], alpha=0.2, linewidth=0
    )
