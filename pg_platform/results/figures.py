"""Figures in one style, drawn without pyplot's global state."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from PIL import Image

from pg_platform.results.statistics import Resolution, summarise

History = Sequence[tuple[int, float]]
"""(images seen, value), by images seen."""

# Wong's palette and a wine red: colour-blind readers tell them apart; in grey dashes and marks do.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)))
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
MOST_CURVES = 12
THUMBNAIL_PIXELS = 720
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.hashsalt": "pg_platform",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a value with two dollars in it is no formula
}


@contextmanager
def figure(size: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure of `size` (width, height in inches), to be drawn on in the one style."""
    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=size, dpi=110, layout="constrained")


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


def canvas(width: float = 7.5, height: float = 4.2) -> tuple[Figure, Axes]:
    """An empty figure of so many inches."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    return figure, figure.add_subplot()


def headline(axes: Axes, text: str) -> None:
    """What is drawn, in small letters above it."""
    axes.set_title(text, fontsize=10, loc="left", color="0.3")


def looks() -> Iterator[dict[str, Any]]:
    """Endless looks of lines; the first twelve and more can be told apart without colour."""
    for colour, dash, mark in zip(cycle(COLOURS), cycle(DASHES), cycle(MARKS), strict=False):
        yield {"color": colour, "linestyle": dash, "marker": mark}


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


def drawn(figure: Figure) -> dict[str, bytes]:
    """The figure as files, by suffix: png and svg."""
    files = {}
    with matplotlib.rc_context(STYLE):
        for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
            file = io.BytesIO()
            figure.savefig(file, format=suffix, metadata=metadata)
            files[suffix] = file.getvalue()
    return files


def thumbnail(png: bytes) -> bytes:
    """The same picture as WebP, no side longer than `THUMBNAIL_PIXELS`."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        picture.save(small, format="webp")
    return small.getvalue()


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
