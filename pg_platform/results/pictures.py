"""Images and values of their patches, as they are shown in figures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor
from torch.nn import functional

from pg_platform.data.views import MEAN, STD
from pg_platform.results.figures import figure

MAP = "RdYlBu_r"
"""Red is high and blue is low, as in the paper."""


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


def _overlay(axes: Axes, image: Tensor, values: Tensor) -> AxesImage:
    height, width, _ = image.shape
    box = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image.mean(dim=2).numpy(), cmap="gray", vmin=0, vmax=1)
    fine = functional.interpolate(values[None, None].float(), size=(height, width))[0, 0]
    if fine.min() < 0.5 < fine.max():  # in grey, red and blue are alike
        axes.contour(fine.numpy(), levels=[0.5], colors="black", linewidths=1)
    return axes.imshow(values.numpy(), cmap=MAP, alpha=0.6, extent=box, vmin=0, vmax=1)
