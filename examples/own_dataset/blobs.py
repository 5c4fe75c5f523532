"""Images of one's own: a bright spot somewhere on a dark ground; the class is its quarter."""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from pg_platform.config.experiment import CustomData
from pg_platform.config.section import Section
from pg_platform.data.image_set import Images
from pg_platform.data.listing import Split, belongs


class Blobs:
    """`count` pictures, the same for every seed of an experiment."""

    class Options(Section):
        count: PositiveInt = 600
        radius: PositiveFloat = 3.0
        val_fraction: PositiveFloat = 0.25
        seed: NonNegativeInt = 0

    def __init__(self, data: CustomData, options: Options) -> None:
        self.side, self.options = data.image_size, options

    def images(self, split: Split) -> Images:
        """One split: an image belongs to it by the hash of its name, wherever this runs."""
        options = self.options
        names = [f"blob-{n}" for n in range(options.count)]
        rows = [n for n, name in enumerate(names) if belongs(name, split, options.val_fraction)]
        generator = torch.Generator().manual_seed(options.seed)
        centres = torch.rand(options.count, 2, generator=generator)[rows] * self.side  # (n, 2)
        colours = torch.rand(options.count, 3, generator=generator)[rows] * 0.5 + 0.5
        grid = torch.arange(self.side) + 0.5
        down = (grid[None, :, None] - centres[:, 0, None, None]) ** 2
        right = (grid[None, None, :] - centres[:, 1, None, None]) ** 2
        light = torch.exp(-(down + right) / (2 * options.radius**2))  # (n, side, side)
        quarters = (centres >= self.side / 2).long()
        return Images(
            classes=("top left", "top right", "bottom left", "bottom right"),
            labels=quarters[:, 0] * 2 + quarters[:, 1],
            ids=[names[row] for row in rows],
            pixels=(light[:, None] * colours[:, :, None, None] * 255).round().to(torch.uint8),
        )
