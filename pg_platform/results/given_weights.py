"""Weights of networks that others have trained, from a file that the user gives."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


def load_given(network: N, file: str, name: str) -> N:
    """`network` with the weights in `file`, in evaluation mode: every one, and no other.

    `file` is a safetensors file or a state dict that torch.load reads with weights_only; halves
    become float32. Raises ValueError where there is no file or it is of another network.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(
            f"weights: no file {path}; fetch the weights of {name} on a connected machine and say "
            "where they lie with --set weights=FILE (safetensors, or a state dict)"
        )
    try:
        network.load_state_dict(_state(path))
    except RuntimeError as problem:
        raise ValueError(f"weights: {path} does not fit {name}: {problem}") from problem
    return network.eval()


def _state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        state: dict[str, Tensor] = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


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
