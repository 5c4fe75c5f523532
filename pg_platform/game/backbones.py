"""Convolutional networks of both agents (He et al. 2016)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from pg_platform.game.batch_norm import BatchNorm2d

MOST_HALVINGS = 5
"""The stem of a ResNet can halve the image twice, its later three stages once each."""


RESNET9, RESNET18, RESNET50 = (1, 1, 1, 1), (2, 2, 2, 2), (3, 4, 6, 3)
"""Blocks per stage. ResNet-9 is nine convolutions deep."""


class ResNet(nn.Module):
    """A ResNet without its head; parameters are named as torchvision's.

    Stages have `width` * (1, 2, 4, 8) channels, times `kind.widening`. The image's side is halved
    `halvings` times, rounding up: the fifth halving is the stem's max-pooling and the fourth its
    7x7 convolution with stride 2; with three or fewer the stem is a 3x3 convolution.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        width: int,
        halvings: int,
        kind: type[BasicBlock | Bottleneck],
    ) -> None:
        super().__init__()
        assert 0 <= halvings <= MOST_HALVINGS
        self.out_channels = 8 * width * kind.widening
        kernel, stride = (7, 2) if halvings > 3 else (3, 1)
        self.conv1 = ImageConv2d(3, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if halvings > 4 else nn.Identity()
        strides = [1, *(2 if halvings > stage else 1 for stage in range(3))]
        insides = [width, *(kind.widening * width * 2**stage for stage in range(3))]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(kind, inside, width * 2**stage, count, stride)
            for stage, (inside, count, stride) in enumerate(
                zip(insides, blocks, strides, strict=True)
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Features (batch, out_channels, h, w) of images (batch, 3, side, side)."""
        x = self.maxpool(self.bn1(self.conv1(images)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        assert isinstance(x, Tensor)
        return x

    def zero_init_residual(self) -> None:
        """Start each block as its shortcut alone (Goyal et al. 2017)."""
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)


class ConvNet(nn.Sequential):
    """3x3 convolutions, each with a batch normalisation and a ReLU.

    The image's side is halved `halvings` times, rounding up: by the second layer and those after
    it, and by the first where they are too few.
    """

    def __init__(self, widths: tuple[int, ...], halvings: int) -> None:
        assert halvings <= len(widths)
        first = min(1, len(widths) - halvings)
        layers: list[nn.Module] = []
        for place, (inside, outside) in enumerate(pairwise((3, *widths))):
            stride = 2 if first <= place < first + halvings else 1
            layers += [
                nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False),
                BatchNorm2d(outside),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)
        self.out_channels = widths[-1]


def _stage(
    kind: type[BasicBlock | Bottleneck], inside: int, outside: int, blocks: int, stride: int
) -> nn.Sequential:
    rest = (kind(kind.widening * outside, outside, 1) for _ in range(blocks - 1))
    return nn.Sequential(kind(inside, outside, stride), *rest)


class ImageConv2d(nn.Conv2d):
    """A convolution of images before a batch normalisation, without a bias.

    On a CPU its weights' gradient is summed in double. The gradient of what is normalised sums to 0
    over each channel, and a large part of an image has one colour: the terms are a thousand times
    their sum, and oneDNN adds them up in float32. Double costs 1 to 2 % of a step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, channels, h, w) of images (batch, 3, side, side)."""
        if x.device.type != "cpu" or not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        summed: Any = _SummedInDouble.apply
        maps: Tensor = summed(x, self.weight, self.stride, self.padding)
        return maps


class _SummedInDouble(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = conv2d_input(x.shape, weight.to(grad.dtype), grad, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            doubled = x.double(), weight.shape, grad.double()
            of_weight = conv2d_weight(*doubled, ctx.stride, ctx.padding).to(weight.dtype)
        return of_x, of_weight, None, None


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    widening = 1

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(outside)
        self.downsample = _shortcut(inside, outside, stride)

    @property
    def last_norm(self) -> BatchNorm2d:
        """The normalisation before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        total: Tensor = residual + self.downsample(x)
        return total.relu()


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, beside a shortcut; the stride is the 3x3's."""

    widening = 4

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 1, bias=False)
        self.bn1 = BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(outside)
        self.conv3 = nn.Conv2d(outside, self.widening * outside, 1, bias=False)
        self.bn3 = BatchNorm2d(self.widening * outside)
        self.downsample = _shortcut(inside, self.widening * outside, stride)

    @property
    def last_norm(self) -> BatchNorm2d:
        """The normalisation before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn1(self.conv1(x)).relu()
        residual = self.bn2(self.conv2(residual)).relu()
        total: Tensor = self.bn3(self.conv3(residual)) + self.downsample(x)
        return total.relu()


def _shortcut(inside: int, outside: int, stride: int) -> nn.Module:
    if stride == 1 and inside == outside:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), BatchNorm2d(outside))
