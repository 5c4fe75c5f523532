"""What the agents of a trained method say about some images, and how these are chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pg_platform.config.seeds import stream
from pg_platform.data.images import Images
from pg_platform.evaluation.trained import Trained, plain_pass


@dataclass(frozen=True)
class PlayedSplit:
    """The decided messages about n images in the plain view, on the CPU.

    `ids` (n, patches, symbols per patch) int64 and `gate` (n, patches) bool as of `Played`,
    `importance` (n, patches), `labels` (n,) int64 with -1 where an image has none.
    """

    images: Images
    ids: Tensor
    gate: Tensor
    importance: Tensor
    labels: Tensor

    def ranks(self) -> Tensor:
        """Places of the patches of an image, (n, patches) from 0 to 1 for the most important.

        Raises ValueError where a speaker ranks nothing.
        """
        if bool((self.importance == self.importance[:, :1]).all()):
            raise ValueError(
                "the speaker ranks no patches, all importances are equal; evaluate a run whose "
                "speaker.gate.kind is bernoulli, top_k or adaptive"
            )
        return place_shares(self.importance)


def place_shares(values: Tensor) -> Tensor:
    """Each value's place among those of its row (rows, n), from 0 (lowest) to 1; equals share."""
    ascending = values.sort(dim=1).values.contiguous()
    below = torch.searchsorted(ascending, values.contiguous())
    not_above = torch.searchsorted(ascending, values.contiguous(), right=True)
    return (below + not_above - 1) / (2 * max(1, values.shape[1] - 1))


def play_images(trained: Trained, images: Images) -> PlayedSplit:
    """Each of `images` said once."""
    rounds, shown = [], []
    for pixels, positions in plain_pass(trained, images, "messages"):
        played = trained.method.play((pixels, pixels))
        rounds.append([x.cpu() for x in (played.ids, played.gate, played.importance)])
        shown.append(positions)
    ids, gate, importance = (torch.cat(parts) for parts in zip(*rounds, strict=True))
    return PlayedSplit(images, ids, gate, importance, images.labels[torch.cat(shown)].cpu())


def labelled(images: Images, what: str) -> Tensor:
    """Positions (m,) of the images that have labels; ValueError where none has."""
    found = (images.labels >= 0).nonzero()[:, 0]
    if not len(found):
        raise ValueError(f"data: no image of the split has a label, and {what} needs them")
    return found


def some(positions: Tensor, count: int, seed: int, what: str) -> Tensor:
    """`count` of `positions` by chance, ascending; all where there are no more."""
    generator = torch.Generator().manual_seed(stream(seed, what))
    order = torch.randperm(len(positions), generator=generator)[:count]
    return positions[order].sort().values


def resampled(ranks: Tensor, side: int) -> Tensor:
    """Ranks (n, g * g) as means over the area of each patch of another grid, (n, side * side)."""
    grid = round(ranks.shape[1] ** 0.5)
    if grid == side:
        return ranks
    edges, own = torch.arange(side + 1) / side, torch.arange(grid + 1) / grid
    low = torch.maximum(edges[:-1, None], own[:-1])
    high = torch.minimum(edges[1:, None], own[1:])
    share = (high - low).clamp(min=0) * side  # (side, grid), rows sum to 1
    averaged: Tensor = share @ ranks.unflatten(1, (grid, grid)) @ share.T
    return averaged.flatten(1)


def from_middle(side: int) -> Tensor:
    """Higher the nearer a patch is to the middle of the grid: its negative distance, (side^2,)."""
    at = torch.arange(side) - (side - 1) / 2
    return -(at[:, None] ** 2 + at**2).sqrt().flatten()
