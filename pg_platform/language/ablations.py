"""Messages with one part taken away or exchanged, to see what of them is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Messages:
    """Messages about images: `ids` (n, patches, symbols per patch) int64, `gate` (n, patches).

    `gate` holds what the speaker gives, numbers between 0 and 1 where it is soft.
    """

    ids: Tensor
    gate: Tensor

    def __len__(self) -> int:
        return len(self.gate)

    def of(self, images: Tensor) -> Messages:
        """The messages of some images, by their positions."""
        return Messages(self.ids[images], self.gate[images])


Ablation = Callable[[Messages, torch.Generator], Messages]
"""Changes messages; the generator is on the CPU."""


def gate_binarised(spoken: Messages, _: torch.Generator) -> Messages:
    """Patches with a gate of 1/2 or more are sent, the rest are not."""
    return Messages(spoken.ids, (spoken.gate >= 0.5).to(spoken.gate.dtype))


def all_gates_on(spoken: Messages, _: torch.Generator) -> Messages:
    """Every patch is sent."""
    return Messages(spoken.ids, torch.ones_like(spoken.gate))


def gates_shuffled(spoken: Messages, generator: torch.Generator) -> Messages:
    """The own symbols through the gate of an image drawn by a uniform permutation of all."""
    return Messages(spoken.ids, spoken.gate[_permuted(spoken, generator)])


def symbols_shuffled(spoken: Messages, generator: torch.Generator) -> Messages:
    """The symbols of an image so drawn through the own gate."""
    return Messages(spoken.ids[_permuted(spoken, generator)], spoken.gate)


def symbols_constant(spoken: Messages, _: torch.Generator) -> Messages:
    """The most frequent sent symbol everywhere: what is left is which patches are sent."""
    sent = spoken.ids[spoken.gate >= 0.5]
    usual = (sent if sent.numel() else spoken.ids).flatten().mode().values
    return Messages(usual.expand_as(spoken.ids), spoken.gate)


def order_shuffled(spoken: Messages, generator: torch.Generator) -> Messages:
    """Each message's symbols permuted among its sent patches (with a soft gate: among all)."""
    silent = 2.0 * (spoken.gate <= 0)
    places = (silent + torch.linspace(0, 1, silent.shape[1], device=silent.device)).argsort(dim=1)
    drawn = (silent + _uniform(spoken, generator)).argsort(dim=1)
    ids = torch.empty_like(spoken.ids)
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    ids[rows, places] = spoken.ids[rows, drawn]
    return Messages(ids, spoken.gate)


def another_message(spoken: Messages, generator: torch.Generator) -> Messages:
    """The whole message of an image drawn by a uniform permutation of all.

    It may be the own one, once in n: that makes the expected success exactly chance.
    """
    return spoken.of(_permuted(spoken, generator))


def dropped(count: int) -> Ablation:
    """Takes `count` sent patches by chance out of each message, or all where it has fewer."""

    def drop(spoken: Messages, generator: torch.Generator) -> Messages:
        keys = _uniform(spoken, generator) + 2 * (spoken.gate <= 0)
        stays = keys.argsort(dim=1).argsort(dim=1) >= count
        return Messages(spoken.ids, spoken.gate * stays)

    return drop


CERTAIN: Mapping[str, Ablation] = {
    "gate_binarised": gate_binarised,
    "all_gates_on": all_gates_on,
    "symbols_constant": symbols_constant,
}
"""Leave nothing to chance."""


DRAWN: Mapping[str, Ablation] = {
    "gates_shuffled": gates_shuffled,
    "symbols_shuffled": symbols_shuffled,
    "order_shuffled": order_shuffled,
    "another_message": another_message,
}
"""Depend on the generator."""


def _permuted(spoken: Messages, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(spoken), generator=generator).to(spoken.ids.device)


def _uniform(spoken: Messages, generator: torch.Generator) -> Tensor:
    return torch.rand(spoken.gate.shape, generator=generator).to(spoken.gate.device)
