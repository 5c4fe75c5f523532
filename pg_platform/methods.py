"""What training and evaluation ask of a method, and the method of an experiment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from pg_platform.config.experiment import Experiment
from pg_platform.config.seeds import stream
from pg_platform.game.patch_game import PatchGame, Played
from pg_platform.game.sampling import Noise


class Method(Protocol):
    """A torch module that learns from two views of each image and can be evaluated."""

    def forward(
        self, views: tuple[Tensor, Tensor], *, progress: float, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and detached scalar metrics of this worker's rows of a global batch."""

    def embed(
        self, views: tuple[Tensor, Tensor], *, progress: float, noise: Noise
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """What `contrast` compares, (rows, width) of each side, and detached scalar metrics."""

    def contrast(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and in-batch top-1 of this worker's rows; with `embed` before it, `forward`."""

    def networks(self) -> Iterable[nn.Module]:
        """The parts that torch.compile can take as they are."""

    def resting(self, epoch: int) -> Iterable[nn.Parameter]:
        """The parameters that do not learn in `epoch`, counted from 0."""

    def play(self, views: tuple[Tensor, Tensor]) -> Played:
        """The round with decided messages; wants eval mode."""

    def features(self, images: Tensor) -> Tensor:
        """Vision features (batch, width) of plain images, for evaluations."""

    def train(self) -> Self:
        """As of torch.nn.Module."""

    def eval(self) -> Self:
        """As of torch.nn.Module."""


def build(experiment: Experiment) -> PatchGame:
    """The method of `experiment`, its weights a function of the seed and of nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(experiment.seed, "init"))
        return PatchGame(experiment)
