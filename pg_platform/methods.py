"""What training and evaluation ask of a method, and the method of an experiment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self, cast

import torch
from torch import Tensor, nn

from pg_platform.config.custom import Custom, told_in_place
from pg_platform.config.experiment import CustomMethod, Experiment, Game
from pg_platform.config.seeds import stream
from pg_platform.game.custom import build_custom, features_width
from pg_platform.game.gates import build_gates
from pg_platform.game.listener import PatchListener
from pg_platform.game.patch_game import GameOutput, PatchGame
from pg_platform.game.ranks import build_rank
from pg_platform.game.sampling import Noise
from pg_platform.game.speaker import build_symbol


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

    def play(self, views: tuple[Tensor, Tensor]) -> GameOutput:
        """The round with decided messages; wants eval mode."""

    def features(self, images: Tensor) -> Tensor:
        """Vision features (batch, width) of plain images, for evaluations."""

    def train(self) -> Self:
        """As of torch.nn.Module."""

    def eval(self) -> Self:
        """As of torch.nn.Module."""


def build(experiment: Experiment) -> PatchGame:
    """The method of `experiment`, its weights a function of the seed and of nothing else.

    One from outside has all that `Method` and torch.nn.Module have; nothing that trains asks a
    PatchGame for more.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(experiment.seed, "init"))
        match experiment.method:
            case CustomMethod() as custom:
                return cast(PatchGame, build_custom(custom, experiment))
            case Game():
                return PatchGame(experiment)


@torch.no_grad()
def check_custom(experiments: Iterable[Experiment]) -> None:
    """Try each class from outside the package on two images of noise, before anything starts.

    ValueError, with the key, where one cannot be built or does not give what is asked of it.
    """
    tried: set[tuple[object, ...]] = set()
    for experiment in experiments:
        for key, custom in experiment.custom():
            sizes = (experiment.data.image_size, experiment.speaker, experiment.listener)
            if key == "data" or (custom, *sizes) in tried:
                continue
            tried.add((custom, *sizes))
            _try(key, custom, experiment)


def _try(key: str, custom: Custom, experiment: Experiment) -> None:
    try:
        found = _shapes(key, experiment)
    except Exception as error:
        raise ValueError(
            f"{key}: {custom.target}: {told_in_place(error, custom.folder)}"
        ) from error
    for name, (shape, wanted) in found.items():
        if shape != wanted:
            raise ValueError(f"{key}: {custom.target}: {name} wants to be {wanted}, it is {shape}")


def _shapes(key: str, experiment: Experiment) -> dict[str, tuple[object, object]]:
    """What the class under `key` gives for two images, by name: the shape that it has and wants."""
    side, patches, speaker = experiment.data.image_size, experiment.patches, experiment.speaker
    images = torch.rand(2, 3, side, side)
    noise = Noise(0, 0, range(2), images.device)
    match key:
        case "speaker.symbol":
            wanted = (2, patches, speaker.symbols_per_patch, speaker.vocab_size)
            return {"what it gives": (_shape(build_symbol(experiment)(images)), wanted)}
        case "speaker.rank":
            return {"what it gives": (_shape(build_rank(experiment)(images)), (2, patches))}
        case "speaker.gate":
            gates, importance = build_gates(experiment)(images, noise)
            each = {"the first it gives": gates, "the second it gives": importance}
            return {name: (_shape(given), (2, patches)) for name, given in each.items()}
        case "listener.vision":
            listener = PatchListener(experiment).eval()
            shape, width = _shape(listener.features(images)), features_width(listener.vision)
            return {"a pooled feature": (shape, (2, width))}
    method = build(experiment)
    loss, _ = method((images, images), progress=0.0, noise=noise)
    played = method.eval().play((images, images))
    width = played.text.shape[-1]
    return {
        "the loss": (_shape(loss), ()),
        "play's text": (_shape(played.text), (2, width)),
        "play's image": (_shape(played.image), (2, width)),
        "play's ids": (_shape(played.ids), (2, patches, speaker.symbols_per_patch)),
        "play's gate": (_shape(played.gate), (2, patches)),
    }


def _shape(given: object) -> object:
    return tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
