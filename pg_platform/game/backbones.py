"""Convolutional networks of both agents (He et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pg_platform.game.collectives import gather, world

MOST_HALVINGS = 5
"""The stem of a ResNet can halve the image twice, its later three stages once each."""


class ResNet(nn.Module):
    """A ResNet of basic blocks without its head; parameters are named as torchvision's.

    `blocks` per stage: (2, 2, 2, 2) is ResNet-18, (1, 1, 1, 1) ResNet-9 (nine convolutions deep).
    Stages have `width` * (1, 2, 4, 8) channels. The image's side is halved `halvings` times,
    rounding up: the fifth halving is the stem's max-pooling and the fourth its 7x7 convolution
    with stride 2; with three or fewer the stem is a 3x3 convolution.
    """

    def __init__(self, blocks: tuple[int, int, int, int], width: int, halvings: int) -> None:
        super().__init__()
        assert 0 <= halvings <= MOST_HALVINGS
        self.out_channels = 8 * width
        kernel, stride = (7, 2) if halvings > 3 else (3, 1)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if halvings > 4 else nn.Identity()
        self.layer1 = _stage(width, width, blocks[0], 1)
        self.layer2 = _stage(width, 2 * width, blocks[1], 2 if halvings > 0 else 1)
        self.layer3 = _stage(2 * width, 4 * width, blocks[2], 2 if halvings > 1 else 1)
        self.layer4 = _stage(4 * width, 8 * width, blocks[3], 2 if halvings > 2 else 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Features (batch, 8 * width, h, w) of images (batch, 3, side, side)."""
        x = self.maxpool(self.bn1(self.conv1(images)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        assert isinstance(x, Tensor)
        return x


def _stage(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(inside, outside, stride),
        *(BasicBlock(outside, outside, 1) for _ in range(blocks - 1)),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(outside)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        total: Tensor = residual + self.downsample(x)
        return total.relu()


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose batch is the global one, on the CPU too.

    `nn.SyncBatchNorm` refuses CPU tensors. All workers bring equally many images.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world() == 1:
            return super().forward(x)
        values = x.float()
        mean, variance = _global_moments(values)
        self._track(mean.detach(), variance.detach(), count=world() * x.numel() // x.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        normal = (values - _as_channels(mean)) * _as_channels(scale) + _as_channels(self.bias)
        return normal.to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics as `nn.BatchNorm2d` does, the variance unbiased."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked += 1


def _global_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of (batch, channels, h, w) over all workers."""
    variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
    means, variances = gather(torch.stack((mean, variance)).unsqueeze(0)).unbind(dim=1)
    return means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0)


def _as_channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)
