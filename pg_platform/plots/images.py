"""Images and values of their patches, as they are shown in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pg_platform.data.views import MEAN, STD
from pg_platform.plots.style import COLOURS, figure

MAP = "RdYlBu_r"
"""Red is high and blue is low, as in the paper."""
_THERE: dict[str, Any] = {"color": COLOURS[0], "linestyle": "--"}
_FOUND: dict[str, Any] = {"color": COLOURS[1], "linestyle": "-"}


def shown(pixels: Tensor) -> Tensor:
    """Normalised pixels (..., 3, h, w) as colours (..., h, w, 3) in [0, 1]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels.cpu() * std + mean).clamp(0, 1).movedim(-3, -1)


def maps_beside(
    pixels: Tensor, maps: Sequence[tuple[str, Tensor]], titles: Sequence[str], columns: int
) -> Figure:
    """Each image with its maps to the right: red is high, numbers on the bar tell what red is.

    `pixels` (n, 3, h, w) normalised; each of `maps` is a name and values (n, rows, columns) in
    [0, 1], of patches or of pixels, drawn over the image in grey.
    """
    wide = 1 + len(maps)
    rows = -(-len(pixels) // columns)
    with figure((1.6 * wide * columns + 0.8, 1.75 * rows + 0.5)) as drawing:
        grid = drawing.subplots(rows, wide * columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for i, image in enumerate(shown(pixels)):
            cells = grid[i // columns, wide * (i % columns) :][:wide]
            cells[0].imshow(image.numpy())
            cells[0].set_title(titles[i], fontsize=9)
            for axes, (name, values) in zip(cells[1:], maps, strict=True):
                drawn = _overlay(axes, image, values[i])
                axes.set_title(name if i < columns else "", fontsize=9)
        bar = drawing.colorbar(drawn, ax=grid, fraction=0.02, pad=0.01)
        bar.set_label("least to most important; the line is at 0.5")
    return drawing


def patches_over(
    pixels: NDArray[Any],
    named: Sequence[Mapping[int, str]],
    titles: Sequence[str],
    side: int,
    columns: int,
) -> Figure:
    """Images with some patches of a grid of `side` x `side` outlined, and a text in each.

    `pixels` (n, h, w, 3) in [0, 1]; `named` has a mapping from patch to text for each image.
    """
    rows = -(-len(pixels) // columns)
    with figure((2.2 * columns, 2.4 * rows)) as drawing:
        grid = drawing.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, image, texts, title in zip(grid.flat, pixels, named, titles, strict=False):
            axes.imshow(image)
            axes.set_title(title, fontsize=8)
            patch = image.shape[0] / side
            boxes = {p: (p % side * patch - 0.5, p // side * patch - 0.5) for p in texts}
            _boxes(
                axes,
                [(texts[p], (x, y, x + patch, y + patch)) for p, (x, y) in boxes.items()],
                _FOUND,
                above=False,
            )
    return drawing


@dataclass(frozen=True)
class Boxed:
    """Pixels (3, h, w) in [0, 1] with boxes of two kinds, each a name and (x0, y0, x1, y1)."""

    pixels: Tensor
    there: Sequence[tuple[str, Sequence[float]]]
    found: Sequence[tuple[str, Sequence[float]]]


def boxes_over(photos: Sequence[Boxed], columns: int, caption: str) -> Figure:
    """Photos with the boxes that are there (dashed) and those found (solid, with their names)."""
    rows = -(-len(photos) // columns)
    with figure((3.2 * columns, 2.7 * rows + 0.6)) as drawing:
        grid = drawing.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, photo in zip(grid.flat, photos, strict=False):
            axes.imshow(photo.pixels.movedim(0, -1).numpy())
            _boxes(axes, photo.found, _FOUND, above=False)
            _boxes(axes, photo.there, _THERE, above=True)
        keys = [Line2D([], [], lw=2, **look) for look in (_THERE, _FOUND)]
        names = ["there (name above)", "found (name and score inside)"]
        drawing.legend(keys, names, loc="outside upper left", ncols=2, fontsize=9)
        drawing.supxlabel(caption, fontsize=9, color="0.3")
    return drawing


def _boxes(
    axes: Axes, boxes: Sequence[tuple[str, Sequence[float]]], look: dict[str, Any], *, above: bool
) -> None:
    for name, (x0, y0, x1, y1) in boxes:
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, lw=1.8, **look))
        behind = {"facecolor": look["color"], "edgecolor": "none", "pad": 0.8}
        side = "bottom" if above else "top"
        axes.text(x0, y0, name, fontsize=7, va=side, color="white", bbox=behind, clip_on=True)


def _overlay(axes: Axes, image: Tensor, values: Tensor) -> AxesImage:
    height, width, _ = image.shape
    box = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image.mean(dim=2).numpy(), cmap="gray", vmin=0, vmax=1)
    fine = functional.interpolate(values[None, None].float(), size=(height, width))[0, 0]
    if fine.min() < 0.5 < fine.max():  # in grey, red and blue are alike
        axes.contour(fine.numpy(), levels=[0.5], colors="black", linewidths=1)
    return axes.imshow(values.numpy(), cmap=MAP, alpha=0.6, extent=box, vmin=0, vmax=1)
