"""The listener: reads messages and looks at images (sec. 3.3)."""

from __future__ import annotations

from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.config.experiment import (
    Conv4Vision,
    CustomVision,
    Experiment,
    Head,
    ResNet18Vision,
    ResNet50Vision,
    VitVision,
)
from pg_platform.game.backbones import (
    MOST_HALVINGS,
    RESNET18,
    RESNET50,
    BasicBlock,
    Bottleneck,
    ConvNet,
    ResNet,
)
from pg_platform.game.custom import build_custom, features_width
from pg_platform.game.message import Message
from pg_platform.game.pooling import average_pool
from pg_platform.game.transformer import Block, PatchTransformer, linear
from pg_platform.game.wide_head import WidePair

CONV4_SIDE, CONV4_HALVINGS = 7, 4
SMALL_IMAGE = 64
"""Up to this side in pixels a ResNet keeps full resolution in its stem (as for CIFAR)."""


class PatchListener(nn.Module):
    """phi_text and phi_vision, each with a projection to the space where they meet."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        listener = experiment.listener
        self.text = TextEncoder(experiment)
        self.vision, width = _vision(experiment)
        vision = listener.vision
        self.flatten = isinstance(vision, Conv4Vision) and vision.pool == "flatten"
        if self.flatten:
            width *= min(CONV4_SIDE, conv4_map(experiment.data.image_size).side) ** 2
        self.text_head = _projection(listener.text.width, listener.head)
        self.vision_head = _projection(width, listener.head)
        wide = listener.head.wide
        self.wide = None if wide is None else WidePair(listener.head.out, wide, "auto")

    def read(self, message: Message) -> Tensor:
        """Embeddings of messages, (batch, out), L2-normalised float32; before a wide layer."""
        return F.normalize(self.text_head(self.text(message)).float(), dim=1)

    def look(self, images: Tensor) -> Tensor:
        """Embeddings of images (batch, 3, side, side), likewise."""
        seen = self.vision(images)
        features = places(seen) if self.flatten else pooled(seen)
        return F.normalize(self.vision_head(features).float(), dim=1)

    def features(self, images: Tensor) -> Tensor:
        """Vision features (batch, width) float32 for evaluations: the mean of a map, or <CLS>."""
        return pooled(self.vision(images))


def pooled(features: Tensor) -> Tensor:
    """(batch, width) float32 of a map (batch, width, h, w), of tokens, <CLS> first, or of that."""
    match features.ndim:
        case 4:
            return features.float().mean(dim=(2, 3))
        case 3:
            return features[:, 0].float()
    return features.float()


def places(maps: Tensor) -> Tensor:
    """Each place of maps (batch, width, h, w), CONV4_SIDE a side at most, as one float32 row."""
    return average_pool(maps.float(), min(CONV4_SIDE, maps.shape[3])).flatten(1)


class TextEncoder(nn.Module):
    """A transformer over <CLS> and the symbols of a message."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        text, speaker = experiment.listener.text, experiment.speaker
        tokens = (experiment.patches, speaker.symbols_per_patch)
        self.unsent = text.unsent
        self.symbol_embedding = nn.Parameter(torch.randn(speaker.vocab_size, text.width))
        self.position_embedding = nn.Parameter(torch.randn(*tokens, text.width))
        self.cls_embedding = nn.Parameter(torch.randn(1, text.width))
        self.blocks = nn.ModuleList(
            Block(text.width, text.heads, text.norm, text.activation) for _ in range(text.depth)
        )
        # Post-norm blocks end in a normalisation of their own.
        self.norm = nn.LayerNorm(text.width) if text.norm == "pre" else nn.Identity()

    def forward(self, message: Message) -> Tensor:
        """The final <CLS>, (batch, width). Masked, what was not sent has no part in it."""
        symbols, heard = message.symbols, None
        match self.unsent:
            case "scaled":
                symbols = symbols * message.gate[:, :, None, None]
            case "masked":
                heard = message.gate.repeat_interleave(symbols.shape[2], dim=1)
                heard = F.pad(heard, (1, 0), value=1.0)  # (batch, 1 + K * l), <CLS> always
        embedded = symbols @ self.symbol_embedding + self.position_embedding
        cls = self.cls_embedding.expand(len(embedded), 1, -1)
        tokens = torch.cat((cls, embedded.flatten(1, 2)), dim=1)  # (batch, 1 + K * l, width)
        for block in self.blocks:
            tokens = block(tokens, heard)
        final: Tensor = self.norm(tokens[:, 0])
        return final


def _vision(experiment: Experiment) -> tuple[nn.Module, int]:
    """The network that looks at images, and how wide its features are."""
    halvings = 3 if experiment.data.image_size <= SMALL_IMAGE else MOST_HALVINGS
    match experiment.listener.vision:
        case ResNet18Vision() as chosen:
            resnet = ResNet(RESNET18, chosen.width, halvings, BasicBlock)
        case ResNet50Vision() as chosen:
            resnet = ResNet(RESNET50, chosen.width, halvings, Bottleneck)
        case Conv4Vision(width=width):
            widths = (width, 2 * width, 2 * width, 4 * width)
            convolutions = ConvNet(widths, conv4_map(experiment.data.image_size).halvings)
            return convolutions, convolutions.out_channels
        case VitVision(width=width, depth=depth, heads=heads):
            patches, side = experiment.patches, experiment.speaker.patch_size
            vit = PatchTransformer(patches, side, width, depth=depth, heads=heads, cls=True)
            return vit, width
        case CustomVision() as custom:
            network = build_custom(custom, experiment)
            return network, features_width(network)
        case vision:
            assert_never(vision)
    if chosen.zero_init_residual:
        resnet.zero_init_residual()
    return resnet, resnet.out_channels


class Map(NamedTuple):
    """How often conv4 halves an image, and the side of the map that it ends with."""

    halvings: int
    side: int


def conv4_map(image_size: int) -> Map:
    """The fewest halvings that leave a map of CONV4_SIDE places a side, or all that there are."""
    fitting = (n for n in range(CONV4_HALVINGS) if -(-image_size >> n) <= CONV4_SIDE)
    halvings = next(fitting, CONV4_HALVINGS)
    return Map(halvings, -(-image_size >> halvings))


def _projection(width: int, head: Head) -> nn.Sequential:
    return nn.Sequential(
        linear(width, head.hidden),
        nn.GELU(),
        linear(head.hidden, head.hidden),
        nn.GELU(),
        linear(head.hidden, head.out),
    )
