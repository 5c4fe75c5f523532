"""Fig. 3: PatchRank as a heat map over images, red = important.

The images are drawn by chance from the validation split, in the plain view. Colours are places
among the patches of an image, so that one image has all of them. Two numbers say what the maps
hide: how much of the variance of the ranks is explained by the place in the grid alone (1: the
speaker looks at the same spots in every image), and how far from the middle important patches lie.
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from pg_platform.config.section import Section
from pg_platform.data.image_set import subset
from pg_platform.data.images import open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.evaluation.messages import from_middle, play_images, some
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.plots.images import maps_beside


class Options(Section):
    """How many images are drawn, in how many columns, and which (`seed`)."""

    images: PositiveInt = 16
    columns: PositiveInt = 4
    measured: PositiveInt = 1000
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """The figure, and numbers over `measured` images. Raises ValueError where nothing is ranked."""
    everything = open_images(trained.experiment.data, "val")
    chosen = some(torch.arange(len(everything)), options.measured, options.seed, "heat_maps")
    played = play_images(trained, subset(everything, chosen))
    ranks = played.ranks()
    first = subset(played.images, torch.arange(min(options.images, len(played.images))))
    pixels = torch.cat([x for x, _ in plain_batches(first, trained.experiment, trained.device)])
    titles = [first.classes[label] if label >= 0 else "" for label in first.labels.tolist()]
    side = round(ranks.shape[1] ** 0.5)
    maps = [("PatchRank", ranks[: len(pixels)].unflatten(1, (side, side)))]
    drawing = maps_beside(pixels, maps, titles, min(options.columns, len(pixels)))
    return EvaluationResult(
        {
            "heat_maps/variance_explained_by_place": explained_by_place(ranks),
            "heat_maps/distance_from_middle": distance_from_middle(ranks),
        },
        figures={"heat_maps": drawing},
    )


def explained_by_place(ranks: Tensor) -> float:
    """The share of the variance of ranks (n, patches) that their mean over images has."""
    return float(ranks.mean(dim=0).var(correction=0) / ranks.var(correction=0))


def distance_from_middle(ranks: Tensor) -> float:
    """Mean distance from the grid's middle of the upper half of patches, over that of all."""
    side = round(ranks.shape[1] ** 0.5)
    distance = -from_middle(side)
    upper = ranks > 0.5
    return float((upper * distance).sum() / upper.sum() / distance.mean())
