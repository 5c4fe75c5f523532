"""Transformer blocks whose tokens may be gated, and the vision transformer made of them."""

from __future__ import annotations

import math
from typing import Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["pre", "post"]
Activation = Literal["gelu", "relu"]


class Block(nn.Module):
    """Attention, then an MLP of four times the width, each beside a shortcut.

    `norm` pre normalises what goes into each of the two, post what comes out with the shortcut.
    """

    def __init__(self, width: int, heads: int, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.heads, self.norm = heads, norm
        self.norm1 = nn.LayerNorm(width)
        self.query_key_value = linear(width, 3 * width)
        self.out = linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            linear(width, 4 * width), _activation(activation), linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, gate: Tensor | None) -> Tensor:
        """(batch, tokens, width) to as many; only tokens with gate 1 are attended to."""
        match self.norm:
            case "pre":
                tokens = tokens + self.attend(self.norm1(tokens), gate)
                total: Tensor = tokens + self.mlp(self.norm2(tokens))
            case "post":
                tokens = self.norm1(tokens + self.attend(tokens, gate))
                total = self.norm2(tokens + self.mlp(tokens))
        return total

    def attend(self, tokens: Tensor, gate: Tensor | None) -> Tensor:
        """What each token hears of the others, (batch, tokens, width)."""
        parts = self.query_key_value(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (batch, heads, tokens, width / heads)
        if gate is None:
            heard = F.scaled_dot_product_attention(query, key, value)
        else:
            heard = gated_attention(query, key, value, gate)
        out: Tensor = self.out(heard.transpose(1, 2).flatten(2))
        return out


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


class PatchTransformer(nn.Module):
    """A vision transformer over the patches of an image (Dosovitskiy et al. 2021), without head.

    With `cls`, a token of its own stands first.
    """

    def __init__(  # noqa: PLR0913 - three by keyword
        self, patches: int, patch_size: int, width: int, *, depth: int, heads: int, cls: bool
    ) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, width, patch_size, patch_size)
        self.cls_embedding = nn.Parameter(_small(1, 1, width)) if cls else None
        self.position_embedding = nn.Parameter(_small(1, patches + cls, width))
        self.blocks = nn.ModuleList(Block(width, heads, "pre", "gelu") for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (batch, patches, width) of images (batch, 3, side, side), <CLS> first if any."""
        tokens = self.patch_embedding(images).flatten(2).transpose(1, 2)
        if self.cls_embedding is not None:
            tokens = torch.cat((self.cls_embedding.expand(len(tokens), -1, -1), tokens), dim=1)
        tokens = tokens + self.position_embedding
        for block in self.blocks:
            tokens = block(tokens, None)
        out: Tensor = self.norm(tokens)
        return out


def linear(inside: int, outside: int) -> nn.Linear:
    """A linear layer that keeps the variance, so that messages differ from the first step.

    With the 0.02 of wide transformers, or with torch's own start, the embeddings of a narrow
    listener begin nearly equal and the loss stays at log(batch) for hundreds of steps.
    """
    layer = nn.Linear(inside, outside)
    nn.init.trunc_normal_(layer.weight, std=inside**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


def _small(*shape: int) -> Tensor:
    return 0.02 * torch.randn(*shape)


def _activation(activation: Activation) -> nn.Module:
    match activation:
        case "gelu":
            return nn.GELU()
        case "relu":
            return nn.ReLU()
        case _:
            assert_never(activation)
