"""Weights of networks that others have trained: a file that the user gives, or a download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import timm
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from pg_platform.config.paths import IsPath
from pg_platform.training.checkpoint import UNREADABLE, misfit
from pg_platform.training.hashes import weights_hash

N = TypeVar("N", bound=nn.Module)

DOWNLOAD = "download"

Weights = Annotated[str, Field(min_length=1), IsPath(DOWNLOAD)]
"""The option of an evaluation that wants such weights: the path of a file, or `download`."""

_UNREADABLE = (SafetensorError, *UNREADABLE)
"""What the two readers raise of files that are not theirs, by the first bytes of the file."""


def load_given(network: N, file: str, name: str) -> N:
    """`network` with the weights in `file`, in evaluation mode: every one, and no other.

    `file` is a safetensors file or a state dict that torch.load reads with weights_only; halves
    become float32. It may be `download`: what torchvision (IMAGENET1K_V1) or timm publishes for
    `name`. Raises ValueError where there is no file, it is of another network, or nothing comes.
    """
    path = Path(file).expanduser()
    if file == DOWNLOAD:
        state = _published(name)
    elif path.is_file():
        state = _state(path)
    else:
        raise ValueError(
            f"weights: no file {path}; fetch the weights of {name} on a connected machine and say "
            f"where they lie with --weights FILE (safetensors, or a state dict), or {DOWNLOAD}"
        )
    if (why := misfit(network, state)) is not None:
        raise ValueError(
            f"weights: {path} does not fit {name}: {why}; give the weights of that network, as it "
            "was published"
        )
    network.load_state_dict(state)
    return network.eval()


def weights_said(network: nn.Module, name: str) -> str:
    """A sentence for the words of an evaluation: whose numbers these are."""
    return f"The weights of {name} have the hash {weights_hash(network)[:12]}."


def _published(name: str) -> dict[str, Tensor]:
    try:
        if name in models.list_models():
            found: dict[str, Tensor] = models.get_model_weights(name)[
                "IMAGENET1K_V1"
            ].get_state_dict(check_hash=True)
            return found
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as problem:  # no network; a name without weights
        raise ValueError(
            f"weights: those of {name} cannot be downloaded here ({problem}); fetch them on a "
            "connected machine and give --weights FILE"
        ) from problem


def _state(path: Path) -> dict[str, Tensor]:
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except _UNREADABLE as problem:
        raise ValueError(_no_weights(path)) from problem
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(_no_weights(path))
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def _no_weights(path: Path) -> str:
    return (
        f"weights: {path} is neither a safetensors file nor a state dict, names with their "
        "tensors and nothing else; save one with torch.save(network.state_dict(), FILE)"
    )


def check_classes(outputs: int, class_index: tuple[int, ...], classes: int) -> Tensor:
    """The network's number of each class of the data, (classes,).

    `class_index` says it; empty, the numbers are the same. Raises ValueError where that cannot be.
    """
    if not class_index and outputs == classes:
        return torch.arange(classes)
    if len(class_index) != classes or max(class_index) >= outputs or min(class_index) < 0:
        raise ValueError(
            f"class_index: the network tells {outputs} classes apart and the data have {classes}; "
            f"give the network's number of each of them, --set class_index=[0,217,...], in the "
            "order of the data's classes"
        )
    return torch.tensor(class_index)
