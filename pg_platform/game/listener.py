"""The listener: reads messages and looks at images (sec. 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.config.experiment import Experiment, Head
from pg_platform.game.backbones import MOST_HALVINGS, ResNet
from pg_platform.game.message import Message

SMALL_IMAGE = 64
"""Up to this side in pixels ResNet-18 keeps full resolution in its stem (as for CIFAR)."""


class PatchListener(nn.Module):
    """phi_text and phi_vision, each with a projection to the space where they meet."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        listener = experiment.listener
        self.text = TextEncoder(experiment)
        halvings = 3 if experiment.data.image_size <= SMALL_IMAGE else MOST_HALVINGS
        self.vision = ResNet((2, 2, 2, 2), listener.vision.width, halvings)
        self.text_head = _projection(listener.text.width, listener.head)
        self.vision_head = _projection(self.vision.out_channels, listener.head)

    def read(self, message: Message) -> Tensor:
        """Embeddings of messages, (batch, out), L2-normalised float32."""
        return F.normalize(self.text_head(self.text(message)).float(), dim=1)

    def look(self, images: Tensor) -> Tensor:
        """Embeddings of images (batch, 3, side, side), (batch, out), L2-normalised float32."""
        return F.normalize(self.vision_head(self.features(images)).float(), dim=1)

    def features(self, images: Tensor) -> Tensor:
        """Vision features before the projection, (batch, 8 * width) float32."""
        features: Tensor = self.vision(images)
        return features.float().mean(dim=(2, 3))


class TextEncoder(nn.Module):
    """A pre-norm transformer over <CLS> and the symbols of the patches that were sent."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        text, speaker = experiment.listener.text, experiment.speaker
        tokens = (experiment.patches, speaker.symbols_per_patch)
        self.symbol_embedding = nn.Parameter(torch.randn(speaker.vocab_size, text.width))
        self.position_embedding = nn.Parameter(torch.randn(*tokens, text.width))
        self.cls_embedding = nn.Parameter(torch.randn(1, text.width))
        self.blocks = nn.ModuleList(_Block(text.width, text.heads) for _ in range(text.depth))
        self.norm = nn.LayerNorm(text.width)

    def forward(self, message: Message) -> Tensor:
        """The final <CLS>, (batch, width). Patches that were not sent have no part in it."""
        symbols = message.symbols @ self.symbol_embedding + self.position_embedding
        cls = self.cls_embedding.expand(len(symbols), 1, -1)
        tokens = torch.cat((cls, symbols.flatten(1, 2)), dim=1)  # (batch, 1 + K * l, width)
        sent = message.gate.repeat_interleave(message.symbols.shape[2], dim=1)
        sent = F.pad(sent, (1, 0), value=1.0)
        for block in self.blocks:
            tokens = block(tokens, sent)
        final: Tensor = self.norm(tokens[:, 0])
        return final


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query_key_value = _linear(width, 3 * width)
        self.out = _linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(_linear(width, 4 * width), nn.GELU(), _linear(4 * width, width))

    def forward(self, tokens: Tensor, sent: Tensor) -> Tensor:
        parts = self.query_key_value(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (batch, heads, tokens, width / heads)
        heard = gated_attention(query, key, value, sent)
        tokens = tokens + self.out(heard.transpose(1, 2).flatten(2))
        total: Tensor = tokens + self.mlp(self.norm2(tokens))
        return total


def gated_attention(query: Tensor, key: Tensor, value: Tensor, gate: Tensor) -> Tensor:
    """Attention over the tokens whose `gate` (batch, tokens) is 1; each image has one at least.

    The value is that of a boolean key-padding mask. Its gradient is not: such a mask is constant,
    and the speaker would hear nothing about the patches that it did not send. Here the weight of
    token k is gate_k exp(s_k) / sum_j gate_j exp(s_j), so d/dgate_k is how the output would turn
    towards token k. A token that was not sent counts at most as much as the strongest one that
    was, else its exponential is unbounded. Shapes: (batch, heads, tokens, width / heads).
    """
    scores = (query / math.sqrt(query.shape[3]) @ key.transpose(2, 3)).float()
    gate = gate[:, None, None, :]
    peak = scores.detach().masked_fill(gate == 0, -math.inf).amax(dim=3, keepdim=True)
    weights = (scores - peak).clamp(max=0).exp() * gate
    return (weights.to(value.dtype) @ value) / weights.sum(dim=3, keepdim=True)


def _projection(width: int, head: Head) -> nn.Sequential:
    return nn.Sequential(
        _linear(width, head.hidden),
        nn.GELU(),
        _linear(head.hidden, head.hidden),
        nn.GELU(),
        _linear(head.hidden, head.out),
    )


def _linear(inside: int, outside: int) -> nn.Linear:
    """A linear layer that keeps the variance, so that messages differ from the first step.

    With the 0.02 of wide transformers, or with torch's own start, the embeddings of a narrow
    listener begin nearly equal and the loss stays at log(batch) for hundreds of steps.
    """
    layer = nn.Linear(inside, outside)
    nn.init.trunc_normal_(layer.weight, std=inside**-0.5)
    nn.init.zeros_(layer.bias)
    return layer
