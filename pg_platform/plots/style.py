"""The one style of all figures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Wong's palette and a wine red: colour-blind readers tell them apart; in grey dashes and marks do.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")


DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)))


MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


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
