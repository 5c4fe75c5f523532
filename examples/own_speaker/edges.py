"""PatchRank of one's own: a patch is important where it has edges, as much as is learned."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.config.experiment import Experiment
from pg_platform.config.section import Section

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


class EdgeRank(nn.Module):
    """Scores patches by their edges: horizontal, vertical, and `filters` that are learned."""

    class Options(Section):
        filters: PositiveInt = 4

    def __init__(self, experiment: Experiment, options: Options) -> None:
        super().__init__()
        self.side = experiment.speaker.patch_size
        self.register_buffer("sobel", torch.stack((SOBEL, SOBEL.T))[:, None])  # (2, 1, 3, 3)
        self.learned = nn.Conv2d(3, options.filters, 3, padding=1)
        # No bias: only differences between patches decide.
        self.score = nn.Linear(2 + options.filters, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (batch, patches) of images (batch, 3, side, side), patches row by row."""
        edges = F.conv2d(images.mean(dim=1, keepdim=True), self.get_buffer("sobel"), padding=1)
        maps = torch.cat((edges, self.learned(images)), dim=1).abs()  # (batch, 2 + filters, h, w)
        patches = F.avg_pool2d(maps, self.side).flatten(2)  # (batch, 2 + filters, patches)
        scores: Tensor = self.score(patches.transpose(1, 2)).squeeze(2)
        return scores.float()
