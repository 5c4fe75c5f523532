"""Heads that are very wide after a narrow bottleneck, and what of them has to be computed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.game.collectives import world

Form = Literal["auto", "plain", "gram"]

GRAM_FROM = 128
"""The global batch from which the Gram form is the faster one.

Seconds of plain over Gram, loss and gradients, 256 -> 65,536 in float32 on two CPU cores: 0.66 at
32, 0.94 at 96, 1.13 at 128, 1.27 at 256, 2.54 at 512 (benchmarks/heads.py).
"""

SHORTEST = 1e-12
"""Embeddings shorter than this are divided by it instead of their length, as F.normalize does."""


class WideLayer(nn.Module):
    """A weight-normed linear layer without bias, `bottleneck` -> `out`: W = g v / |v|, row by row.

    g (out, 1) starts at 1 and is learned, as in the authors' last layer.
    """

    def __init__(self, bottleneck: int, out: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(torch.empty(out, bottleneck))
        self.weight_g = nn.Parameter(torch.ones(out, 1))
        nn.init.uniform_(self.weight_v, -(bottleneck**-0.5), bottleneck**-0.5)

    def weight(self) -> Tensor:
        """W (out, bottleneck)."""
        weight: Tensor = self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))
        return weight

    def forward(self, bottleneck: Tensor) -> Tensor:
        """The wide embeddings themselves, (rows, out), L2-normalised: what evaluations read."""
        with torch.autocast(bottleneck.device.type, enabled=False):
            return F.normalize(_at_least_single(bottleneck) @ self.weight().T, dim=1)


class WidePair(nn.Module):
    """The wide layers of both modalities, asked only for cosines between their embeddings.

    The loss reads nothing else, and after the bottlenecks t and i all is linear:
    cos = t Wt^T Wi i^T / (|Wt t| |Wi i|), which three bottleneck x bottleneck products of the
    weights give exactly. Workers then exchange rows as wide as a bottleneck: 1.05 MB a step at
    256 and a batch of 512, where embeddings 65,536 wide are 268 MB.
    """

    def __init__(self, bottleneck: int, out: int, form: Form) -> None:
        super().__init__()
        self.text = WideLayer(bottleneck, out)
        self.image = WideLayer(bottleneck, out)
        self.form = form

    def factors(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """From bottlenecks (rows, bottleneck) each: text', image' with cosines text' @ image'.T.

        That holds between the rows of different workers too, as their weights are the same.
        Plain: (rows, out), of length 1. Gram: (rows, bottleneck), of no particular length.
        Neither depends on the lengths of the bottlenecks. In float32 or double, whatever
        autocast says, because each entry of a Gram matrix is a sum over `out`.
        """
        if self._is_plain(len(text) * world()):
            return self.text(text), self.image(image)
        return self.narrow_factors(text, image)

    def narrow_factors(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The Gram form of `factors`, whatever the batch: (rows, bottleneck) each."""
        return self.narrow_text(text), self.narrow_image(image)

    def narrow_text(self, text: Tensor) -> Tensor:
        """The texts' half of `narrow_factors`."""
        with torch.autocast(text.device.type, enabled=False):
            of_text, of_image = self.text.weight(), self.image.weight()
            return _scaled(_at_least_single(text), _gram(of_text)) @ (of_text.T @ of_image)

    def narrow_image(self, image: Tensor) -> Tensor:
        """The images' half of `narrow_factors`."""
        with torch.autocast(image.device.type, enabled=False):
            return _scaled(_at_least_single(image), _gram(self.image.weight()))

    def _is_plain(self, batch: int) -> bool:
        match self.form:
            case "plain":
                return True
            case "gram":
                return False
            case "auto":
                return batch < GRAM_FROM


def _at_least_single(bottleneck: Tensor) -> Tensor:
    return bottleneck.to(torch.promote_types(bottleneck.dtype, torch.float32))


def _gram(weight: Tensor) -> Tensor:
    """W^T W (bottleneck, bottleneck), for use in forms h^T G h only.

    There the gradient with respect to G is symmetric, so both of its ways to W are equal:
    one is computed, and counts twice.
    """
    product = weight.T @ weight.detach()
    return 2 * product - product.detach()


def _scaled(bottleneck: Tensor, gram: Tensor) -> Tensor:
    """Rows h / |W h| from the Gram matrix of W, (rows, bottleneck)."""
    squared = ((bottleneck @ gram) * bottleneck).sum(dim=1, keepdim=True)
    return bottleneck * squared.clamp(min=SHORTEST**2).rsqrt()
