"""What the speaker says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Message:
    """One-hot symbols of every patch, and which patches are sent: m = symbols * gate (eq. 9).

    `symbols` (batch, patches, symbols per patch, vocabulary) and `gate` (batch, patches) hold
    exact zeros and ones; in training they carry straight-through gradients.
    """

    symbols: Tensor
    gate: Tensor

    def ids(self) -> Tensor:
        """Symbol numbers (batch, patches, symbols per patch) int64, of unsent patches too."""
        return self.symbols.argmax(dim=-1)

    def lengths(self) -> Tensor:
        """Symbols sent per image, (batch,)."""
        return self.gate.detach().sum(dim=1) * self.symbols.shape[2]

    def assert_discrete(self) -> None:
        """Raise ValueError unless each symbol is one-hot and each gate is 0 or 1."""
        symbols, gate = self.symbols.detach(), self.gate.detach()
        soft = ~_zero_or_one(symbols).all(dim=-1) | (symbols.sum(dim=-1) != 1)
        if bool(soft.any()):
            raise ValueError(
                f"{int(soft.sum())} of {soft.numel()} symbols are not one-hot; the first is "
                f"{symbols[soft][0].tolist()}"
            )
        between = gate[~_zero_or_one(gate)]
        if len(between):
            raise ValueError(
                f"{len(between)} of {gate.numel()} gates are neither 0 nor 1; the first is "
                f"{between[0].item()}"
            )


def _zero_or_one(values: Tensor) -> Tensor:
    return torch.logical_or(values == 0, values == 1)
