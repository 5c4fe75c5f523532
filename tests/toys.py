"""Five speakers that are known through and through, playing the real game on generated pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from torch import Tensor, nn

from pg_platform.config.experiment import Experiment
from pg_platform.data.images import Images, Split, open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.data.views import MEAN, STD
from pg_platform.evaluation.trained import Trained
from pg_platform.game.listener import PatchListener
from pg_platform.game.message import Message
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from tests.small import SMALL, merged

SENT, VOCABULARY, POOL = 5, 27, 64
"""Patches that each speaker sends of nine; words for five shapes, six colours, and so on."""

AGENTS = ("constant", "random", "leaking", "compositional", "holistic")
CPU = torch.device("cpu")
_UNCHANGED = {
    **{"crop": None, "color_jitter": None, "flip": 0, "grayscale": 0},
    **{"speaker": {"blur": 0}, "listener": {"blur": 0, "solarize": 0}},
}
EXPERIMENT = Experiment.model_validate(
    merged(
        SMALL,
        {
            "data": {"image_size": 24, "count": 1200, "val_fraction": 0.5},
            "speaker": {"vocab_size": VOCABULARY},
            "validation": {"pool_size": POOL},
            "views": _UNCHANGED,
        },
    )
)


class World:
    """What the laws are about: the labels, attributes and pixels of a split, row by row."""

    def __init__(self, split: Split) -> None:
        self.images: Images = open_images(EXPERIMENT.data, split)
        self.labels: NDArray[Any] = self.images.labels.numpy()
        self.attributes = np.stack([v.numpy() for v in self.images.attributes.values()], axis=1)
        self.kinds = [int(column.max()) + 1 for column in self.attributes.T]
        self.combinations = np.ravel_multi_index(tuple(self.attributes.T), tuple(self.kinds))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def pixels(self) -> NDArray[Any]:
        """(n, width) as the agents see them."""
        parts = [pixels.flatten(1) for pixels, _ in plain_batches(self.images, EXPERIMENT, CPU)]
        return torch.cat(parts).numpy()

    @cached_property
    def apart(self) -> Mapping[str, NDArray[Any]]:
        """Distances of all pairs of images, by what is compared."""
        return {
            "label": pdist(self.labels[:, None], "hamming"),
            "attribute": pdist(self.attributes, "hamming"),
            "pixel": pdist(self.pixels),
        }


def toy(agent: str, folder: Path, *, renumbered: bool = False) -> Trained:
    """The agents of that name; renumbered, with other numbers for the same symbols.

    A listener expects of an image what its speaker says about it, but for the random speaker, whose
    symbols nobody can foresee.
    """
    worlds = [World("train"), World("val")]
    said = [_said(agent, w, seed + 10 * renumbered) for seed, w in enumerate(worlds)]
    spoken = np.concatenate(said)
    expected = np.concatenate(
        [_said(agent, w, seed + 100) for seed, w in enumerate(worlds)]
        if agent == "random"
        else said
    )
    if renumbered and agent != "random":
        order = np.random.default_rng(5).permutation(VOCABULARY)
        spoken, expected = order[spoken], order[expected]
    game = build(EXPERIMENT)
    eye = _Eye(worlds)
    game.speaker.add_module("symbol", _Words(eye, torch.from_numpy(spoken)))
    game.speaker.add_module("gates", _FirstPatches())
    attributes = np.concatenate([w.attributes for w in worlds])
    game.listener = _Listener(eye, torch.from_numpy(expected), _one_hot(attributes, worlds[0]))
    return Trained(folder / agent / "step-000000000", EXPERIMENT, game.eval(), CPU)


def _said(agent: str, world: World, seed: int) -> NDArray[Any]:
    """Symbols (n, 9) of every patch, of which the first five are sent."""
    generator, n = np.random.default_rng(seed), len(world)
    if agent == "constant":
        return np.full((n, 9), 3)
    if agent == "random":
        return generator.integers(2, size=(n, 9))
    noise = np.random.default_rng(seed % 10).integers(VOCABULARY, size=(n, 9 - SENT))
    return np.concatenate((_meant(agent, world), noise), axis=1)


def _meant(agent: str, world: World) -> NDArray[Any]:
    match agent:
        case "leaking":
            return np.repeat(world.labels[:, None], SENT, axis=1)
        case "compositional":
            return np.asarray(world.attributes + np.cumsum([0, *world.kinds[:-1]]))
        case _:
            many = int(np.prod(world.kinds))
            codes = np.random.default_rng(1).integers(VOCABULARY, size=(many, SENT))
            return np.asarray(codes[world.combinations])


def _one_hot(attributes: NDArray[Any], world: World) -> Tensor:
    """(n, 82) of norm 4: the cosine of images with c attributes in common is (3 c + 1) / 16."""
    blocks = [np.eye(k)[column] for column, k in zip(attributes.T, world.kinds, strict=True)]
    return torch.from_numpy(np.hstack([*blocks * 3, np.ones((len(attributes), 1))])).float()


class _Eye:
    """Knows every image of the world again; what it does not know it takes for the first one."""

    def __init__(self, worlds: list[World]) -> None:
        pictures = np.concatenate([w.pixels for w in worlds])
        self.rows = {key: row for row, key in enumerate(self._keys(torch.from_numpy(pictures)))}
        assert len(self.rows) == len(pictures), "two images look the same"

    def __call__(self, pixels: Tensor) -> Tensor:
        return torch.tensor([self.rows.get(key, 0) for key in self._keys(pixels)])

    def _keys(self, pixels: Tensor) -> list[bytes]:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
        seen = (pixels.view(len(pixels), 3, 24, 24) * std + mean) * 255
        return [one.numpy().tobytes() for one in seen.round().to(torch.int16)]


class _Words(nn.Module):
    """In the place of PatchSymbol: logits (batch, patches, 1, vocabulary)."""

    def __init__(self, eye: _Eye, ids: Tensor) -> None:
        super().__init__()
        self.eye, self.ids = eye, nn.Parameter(ids, requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        ids = self.ids[self.eye(pixels)]
        return 1000 * torch.nn.functional.one_hot(ids, VOCABULARY).float()[:, :, None]


class _FirstPatches(nn.Module):
    """In the place of the gates: the first patch is the most important one."""

    def forward(self, images: Tensor, _: Noise | None) -> tuple[Tensor, Tensor]:
        places = torch.arange(9.0).expand(len(images), -1)
        return (places < SENT).float(), -places


class _Listener(PatchListener):
    """Compares the message with the one that it expects of an image, patch by patch.

    Products are eighths of the number of patches that agree, without rounding: equal messages tie.
    """

    def __init__(self, eye: _Eye, expected: Tensor, features: Tensor) -> None:
        super().__init__(EXPERIMENT)
        self.eye, self.expected, self.known = eye, expected, features

    def read(self, message: Message) -> Tensor:
        return (message.symbols * message.gate[:, :, None, None]).flatten(1)

    def look(self, images: Tensor) -> Tensor:
        ids = self.expected[self.eye(images)][:, :SENT]
        words = torch.nn.functional.one_hot(ids, VOCABULARY).float().flatten(1)
        return torch.nn.functional.pad(words, (0, (9 - SENT) * VOCABULARY)) / 8

    def features(self, images: Tensor) -> Tensor:
        return self.known[self.eye(images)]
