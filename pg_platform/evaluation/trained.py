"""What an evaluation is given: a trained method, told apart by nothing but its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from pg_platform.config.experiment import Experiment
from pg_platform.data.images import Images
from pg_platform.data.loaders import EVALUATION_BATCH, plain_batches
from pg_platform.game.patch_game import PatchGame
from pg_platform.methods import Method, build
from pg_platform.progress import tracked
from pg_platform.training import checkpoint
from pg_platform.training.checkpoint import REMEDY, CheckpointError
from pg_platform.training.newest import EVALUATED, Choice, damage, newest_whole


@dataclass(frozen=True)
class Trained:
    """A method with the weights of a checkpoint, in evaluation mode on `device`."""

    path: Path
    experiment: Experiment
    method: Method
    device: torch.device
    older: str | None = None
    """What is told where a newer checkpoint of the run is damaged."""

    @property
    def game(self) -> PatchGame:
        """The method where it is the game; ValueError where it has no speaker and listener."""
        if not isinstance(self.method, PatchGame):
            raise ValueError(
                f"{self.path}: a {type(self.method).__name__} sends no messages of its own; give "
                "a run of the game"
            )
        return self.method


def choose(path: Path) -> Choice:
    """The checkpoint at `path`, or the newest whole one in a trial's folder.

    Raises CheckpointError where there is none or it cannot be read.
    """
    if (path / "experiment.json").is_file():
        if (why := damage(path, EVALUATED)) is not None:
            raise CheckpointError(f"{path}/{why}; {REMEDY}")
        return Choice(path)
    choice = newest_whole(path, EVALUATED, REMEDY)
    if choice.path is None:
        raise CheckpointError(
            f"{path}: no checkpoint here; give a folder that holds step-* or is one of them"
        )
    return choice


def checkpoint_of(path: Path) -> Path:
    """The folder of the checkpoint that `choose` finds."""
    return _taken(choose(path))


def load_trained(
    path: Path, device: torch.device, moved: Mapping[str, str] = MappingProxyType({})
) -> Trained:
    """The method of the checkpoint at `path`, or of the newest whole one in a trial's folder.

    `moved` says where its images lie now, by the keys of its section data. Raises CheckpointError
    where there is no checkpoint, ValueError where the images have no such key.
    """
    choice = choose(path)
    newest = _taken(choice)
    experiment = _moved(checkpoint.load_experiment(newest), moved, path)
    method = build(experiment)
    checkpoint.put_weights(newest, method)
    return Trained(newest, experiment, method.to(device).eval(), device, choice.told)


def _taken(choice: Choice) -> Path:
    assert choice.path is not None, "choose raises where there is none"
    return choice.path


def _moved(experiment: Experiment, moved: Mapping[str, str], path: Path) -> Experiment:
    data = experiment.data
    for key, value in moved.items():
        if getattr(data, key, None) is None:
            raise ValueError(
                f"--data {key}={value}: the images of {path} are {data.kind} and lie under no key "
                f"{key}; leave it out"
            )
    return experiment.model_copy(update={"data": data.model_copy(update=dict(moved))})


def plain_pass(trained: Trained, images: Images, what: str) -> Iterator[tuple[Tensor, Tensor]]:
    """All images once in the plain view, as `plain_batches` gives them, with a bar."""
    batches = plain_batches(images, trained.experiment, trained.device)
    return tracked(batches, what, batches_of(len(images)))


def batches_of(images: int) -> int:
    """How many batches of an evaluation so many images are."""
    return -(-images // EVALUATION_BATCH)
