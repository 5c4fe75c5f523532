"""The experiments that the kit plays: small games, and the recipes at the paper's size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pg_platform.config.experiment import Experiment
from pg_platform.config.paths import RECIPES
from pg_platform.game.sampling import Noise
from pg_platform.sweep.load import load_experiment

SMALL = Path(__file__).with_name("small.yaml")
PAPER_SIDE, PAPER_PATCH = 224, 32
IMAGENET_JPEG = (375, 500)
"""Height and width of the mean photo of ImageNet."""

SMALL_SIZES = (
    "batch_size=64",
    "precision=float32",
    "data={kind: shapes, image_size: 32, count: 512, val_fraction: 0.25}",
    "speaker.patch_size=8",
    "speaker.vocab_size=32",
    "speaker.rank.width=16",
    "listener.text.width=48",
    "listener.text.depth=2",
    "listener.vision.width=16",
    "listener.head.hidden=64",
    "listener.head.out=32",
    "validation.pool_size=64",
)
"""What makes a small game of a recipe."""
_SIZES_OF_OFFICIAL = (
    "speaker.symbol.width=48",
    "speaker.symbol.depth=2",
    "speaker.symbol.hidden=64",
    "listener.head.wide=256",
)


def small(*changes: str) -> Experiment:
    """A game of seconds on pictures that no file holds; `changes` as `--set` has them."""
    return load_experiment(SMALL, changes)


def small_recipe(name: str, *changes: str) -> Experiment:
    """A recipe with all that it decides, at the sizes of the small game, in float32."""
    of_its_own = _SIZES_OF_OFFICIAL if name == "official" else ()
    return load_experiment(RECIPES / f"{name}.yaml", SMALL_SIZES + of_its_own + changes)


def at_paper_size(recipe: str, batch: int, *changes: str) -> Experiment:
    """A recipe on 224-pixel images with patches of 32, whose images are never opened."""
    data = f"data={{kind: shapes, image_size: {PAPER_SIDE}}}"
    sizes = (data, f"speaker.patch_size={PAPER_PATCH}", f"batch_size={batch}")
    return load_experiment(RECIPES / f"{recipe}.yaml", (*sizes, *changes))


@dataclass(frozen=True)
class SameNoise(Noise):
    """Draws of the CPU on any device, so that two devices can be compared."""

    dtype: torch.dtype = torch.float32
    """Logarithms of float32 draws differ between devices by what double is compared for."""

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        drawn = Noise(self.seed, self.step, self.rows, torch.device("cpu")).uniform(name, shape)
        return drawn.to(self.device, self.dtype)
