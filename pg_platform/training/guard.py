"""Keeps a run from learning from numbers that are not finite, and says where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

NAMED = 10
"""So many images of a batch are named in an error; the rest are counted."""


class Guard:
    """Remembers, on the device, the first step whose loss or gradient was not finite.

    From that step on the optimiser changes nothing (`optimizer.found_inf` is 1), without the host
    waiting to know, so that the weights stay those that the step met.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.first = torch.full((), -1, dtype=torch.int64, device=device)
        self.optimizer: Any = optimizer

    def note(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Look at a step between its backward pass and that of the optimiser."""
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        self.first = torch.where(finite | (self.first >= 0), self.first, step)
        self.optimizer.found_inf = (self.first >= 0).to(torch.float32)

    def bad_step(self) -> int | None:
        """The first such step, counted from 0; waits for the device."""
        first = int(self.first.item())
        return None if first < 0 else first


def first_not_finite(network: nn.Module, play: Callable[[], object]) -> str | None:
    """The first module of `network`, in the order of computing, that gives a number that is none.

    None where all outputs are finite while `play` is called.
    """
    found: list[str] = []
    with torch.no_grad(), ExitStack() as hooks:
        for name, module in network.named_modules():
            if next(module.children(), None) is None or name == "loss":
                handle = module.register_forward_hook(partial(_look, found, name))
                hooks.callback(handle.remove)
        play()
    return found[0] if found else None


def shortened(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _look(found: list[str], name: str, _: nn.Module, __: Any, output: Any) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(output)):
        found.append(name)


def _tensors(output: Any) -> Iterator[Tensor]:
    match output:
        case Tensor():
            yield output
        case tuple() | list():
            for item in output:
                yield from _tensors(item)
