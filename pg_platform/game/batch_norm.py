"""Batch normalisation whose statistics do not depend on how a batch is shared or cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.game.collectives import gather, world


class Part(NamedTuple):
    """Which of how many equal parts of a step's batch goes through a network, counted from 0."""

    number: int = 0
    of: int = 1


class BatchNorm2d(nn.BatchNorm2d):
    """Normalises over the global batch, or over each `group` of so many consecutive images.

    `nn.SyncBatchNorm` refuses CPU tensors. All workers bring equally many images, and groups
    divide what a worker brings. The running statistics move once a step, by the mean of all
    groups' statistics: by those of this worker's groups, so that with groups the means over the
    workers are taken where they are read (`settle`). While `part` is None they stay.
    """

    group: int | None = None
    part: Part | None = Part()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        if self.part is not None and self.part.number == 0 and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.group is None and world() > 1:
            return self._over_workers(x)
        group = self.group or len(x)
        assert len(x) % group == 0, f"{len(x)} images in groups of {group}"
        groups = x.split(group)
        weights = self._weights(len(groups))
        normal = [self._over(*each) for each in zip(groups, weights, strict=True)]
        return normal[0] if len(normal) == 1 else torch.cat(normal)

    def _over(self, x: Tensor, weight: float) -> Tensor:
        """`x` normalised by its own statistics, which move the running ones by `weight`."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=True,
            momentum=weight,
            eps=self.eps,
        )

    def _weights(self, groups: int) -> list[float]:
        """By how much each group of this part moves the running statistics.

        One after another they move them as the mean of all groups of all parts would at once.
        """
        if self.part is None:
            return [0.0] * groups
        assert self.momentum is not None
        number, total = self.part.number * groups, self.part.of * groups
        step = self.momentum / total
        return [step / (1 - self.momentum + step * (number + i + 1)) for i in range(groups)]

    def _over_workers(self, x: Tensor) -> Tensor:
        values = x.float()
        mean, variance = _global_moments(values)
        count = world() * x.numel() // x.shape[1]
        (weight,) = self._weights(1)
        _move(self.running_mean, mean.detach(), weight)
        _move(self.running_var, variance.detach() * count / (count - 1), weight)
        normal = (values - _as_channels(mean)) * _as_channels((variance + self.eps).rsqrt())
        if self.affine:
            normal = normal * _as_channels(self.weight) + _as_channels(self.bias)
        return normal.to(x.dtype)


def batch_norms(network: nn.Module) -> list[BatchNorm2d]:
    """All batch normalisations of a network."""
    return [module for module in network.modules() if isinstance(module, BatchNorm2d)]


@contextmanager
def statistics_of(network: nn.Module, part: Part | None) -> Iterator[None]:
    """Within, what goes through the network is `part` of a step; None: it went through before."""
    norms = batch_norms(network)
    for norm in norms:
        norm.part = part
    yield
    for norm in norms:
        norm.part = Part()


def running_statistics(norms: Iterable[BatchNorm2d]) -> list[Tensor]:
    """Means and variances that evaluation normalises by."""
    both = [(norm.running_mean, norm.running_var) for norm in norms]
    return [buffer for pair in both for buffer in pair if buffer is not None]


def _move(running: Tensor | None, statistic: Tensor, weight: float) -> None:
    assert running is not None
    running.lerp_(statistic, weight)


def _global_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of (batch, channels, h, w) over all workers."""
    variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
    means, variances = gather(torch.stack((mean, variance)).unsqueeze(0)).unbind(dim=1)
    return means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0)


def _as_channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)
