"""PatchRank: how important each patch of an image is (eq. 7)."""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

from pg_platform.config.experiment import (
    ConvRank,
    CustomRank,
    Experiment,
    MobileNetRank,
    ResNet9Rank,
    SoftRank,
    VitRank,
)
from pg_platform.game.backbones import MOST_HALVINGS, RESNET9, BasicBlock, ConvNet, ResNet
from pg_platform.game.batch_norm import BatchNorm2d
from pg_platform.game.custom import build_custom
from pg_platform.game.pooling import average_pool
from pg_platform.game.soft_rank import soft_rank
from pg_platform.game.transformer import PatchTransformer


def build_rank(experiment: Experiment) -> nn.Module:
    """The network that `speaker.rank` names: scores (batch, patches) of images."""
    match experiment.speaker.rank:
        case CustomRank() as custom:
            return build_custom(custom, experiment)
        case rank:
            return PatchRank(experiment, rank)


class PatchRank(nn.Module):
    """A network that looks at the whole image and gives each patch a score."""

    def __init__(
        self, experiment: Experiment, rank: ResNet9Rank | ConvRank | MobileNetRank | VitRank
    ) -> None:
        super().__init__()
        self.grid = experiment.data.image_size // experiment.speaker.patch_size
        self.backbone, width = _backbone(experiment, rank)
        # No bias: only differences between patches decide.
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (batch, patches) float32 of images (batch, 3, side, side), row by row."""
        features = self.backbone(images)  # (batch, width, h, w) or (batch, patches, width)
        # bfloat16 has too few digits to rank some hundred patches.
        with torch.autocast(images.device.type, enabled=False):
            features = features.float()
            if features.ndim == 4:
                features = features.permute(0, 2, 3, 1)
                return average_pool(self.score(features).squeeze(3), self.grid).flatten(1)
            scored: Tensor = self.score(features)
            return scored.squeeze(2)


def standardised(scores: Tensor) -> Tensor:
    """Scores (batch, patches) with mean 0 and variance 1 in each image."""
    variance, mean = torch.var_mean(scores, dim=1, correction=0, keepdim=True)
    return (scores - mean) * (variance + 1e-6).rsqrt()


def rank_shares(scores: Tensor, settings: SoftRank) -> Tensor:
    """r/K of eq. 7, (batch, patches) in (0, 1]: soft ranks of scores, over their number."""
    patches = scores.shape[1]
    if settings.normalize:  # to the spread of the ranks 1..K
        scores = standardised(scores) * (patches / math.sqrt(12))
    return soft_rank(scores, settings.strength, settings.implementation) / patches


def _backbone(
    experiment: Experiment, rank: ResNet9Rank | ConvRank | MobileNetRank | VitRank
) -> tuple[nn.Module, int]:
    """The network of an experiment's PatchRank, and how wide its features are."""
    side = experiment.speaker.patch_size
    match rank:
        case ResNet9Rank(width=width):
            # As many halvings as leave a map no coarser than the grid of patches.
            halvings = min(MOST_HALVINGS, side.bit_length() - 1)
            resnet = ResNet(RESNET9, width, halvings, BasicBlock)
            return resnet, resnet.out_channels
        case ConvRank(width=width):
            halvings = min(3, side.bit_length() - 1)
            convolutions = ConvNet((width, 2 * width, 2 * width), halvings)
            return convolutions, convolutions.out_channels
        case MobileNetRank():
            features = mobilenet_v3_small(weights=None, norm_layer=_mobile_norm).features
            return features, 576
        case VitRank(width=width, depth=depth, heads=heads):
            vit = PatchTransformer(
                experiment.patches, side, width, depth=depth, heads=heads, cls=False
            )
            return vit, width
        case _:
            assert_never(rank)


def _mobile_norm(channels: int) -> BatchNorm2d:
    """MobileNet's normalisation (Howard et al. 2019), over the global batch."""
    return BatchNorm2d(channels, eps=0.001, momentum=0.01)
