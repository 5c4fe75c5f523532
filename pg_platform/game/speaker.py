"""The speaker: names each patch and chooses the patches to send (sec. 3.2)."""

from __future__ import annotations

import math
from typing import assert_never

from torch import Tensor, nn

from pg_platform.config.experiment import (
    AffineSymbols,
    CustomSymbols,
    Experiment,
    MlpSymbols,
    VitSymbols,
)
from pg_platform.game.custom import build_custom
from pg_platform.game.gates import build_gates
from pg_platform.game.message import Message
from pg_platform.game.sampling import Noise, gumbel_softmax
from pg_platform.game.transformer import PatchTransformer


def build_symbol(experiment: Experiment) -> nn.Module:
    """What names patches: logits (batch, patches, symbols per patch, vocabulary) of images."""
    match experiment.speaker.symbol:
        case CustomSymbols() as custom:
            return build_custom(custom, experiment)
        case symbol:
            return PatchSymbol(experiment, symbol)


class PatchSymbol(nn.Module):
    """Symbol logits of each patch: from its own pixels, or with `vit` from the whole image."""

    def __init__(
        self, experiment: Experiment, symbol: MlpSymbols | AffineSymbols | VitSymbols
    ) -> None:
        super().__init__()
        speaker = experiment.speaker
        self.shape = (speaker.symbols_per_patch, speaker.vocab_size)
        self.tokens, width = _tokens(experiment, symbol)
        self.namer = _namer(symbol, width, math.prod(self.shape))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, patches, symbols per patch, vocabulary); patches row by row."""
        logits: Tensor = self.namer(self.tokens(images)).unflatten(-1, self.shape)
        return logits


class Pixels(nn.Module):
    """The pixels of each patch as a vector."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """(batch, patches, 3 * side * side) of images (batch, 3, h, w); patches row by row."""
        side = self.side
        patches = images.unfold(2, side, side).unfold(3, side, side)  # (b, 3, rows, columns, S, S)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _tokens(
    experiment: Experiment, symbol: MlpSymbols | AffineSymbols | VitSymbols
) -> tuple[nn.Module, int]:
    """What each patch is named from, and how wide that is."""
    side = experiment.speaker.patch_size
    match symbol:
        case VitSymbols(width=width, depth=depth, heads=heads):
            vit = PatchTransformer(
                experiment.patches, side, width, depth=depth, heads=heads, cls=False
            )
            return vit, width
        case MlpSymbols() | AffineSymbols():
            return Pixels(side), 3 * side**2


def _namer(
    symbol: MlpSymbols | AffineSymbols | VitSymbols, inside: int, outside: int
) -> nn.Sequential:
    """The layers from what a patch is named from to its logits."""
    match symbol:
        case AffineSymbols():
            layers: list[nn.Module] = [nn.Linear(inside, outside)]
        case MlpSymbols(hidden=hidden) | VitSymbols(hidden=hidden):
            layers = [nn.Linear(inside, hidden), nn.GELU(), nn.Linear(hidden, outside)]
        case _:
            assert_never(symbol)
    if symbol.initial_logit_std is not None:
        gains = [math.sqrt(2)] * (len(layers) > 1) + [symbol.initial_logit_std]
        for layer, gain in zip(layers[::2], gains, strict=True):
            _give_gain(layer, gain)
    return nn.Sequential(*layers)


def _give_gain(layer: nn.Module, gain: float) -> None:
    """Start a linear layer with outputs of `gain` times the root mean square of its inputs."""
    assert isinstance(layer, nn.Linear)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
    nn.init.zeros_(layer.bias)


class PatchSpeaker(nn.Module):
    """theta_symb and theta_rank, joined by eq. 9."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.symbol = build_symbol(experiment)
        self.gates = build_gates(experiment)

    def forward(
        self, images: Tensor, temperature: float | Tensor, noise: Noise | None
    ) -> tuple[Message, Tensor]:
        """A message about images (batch, 3, side, side), and importances (batch, patches).

        Sampled with `noise`; without, the most probable message. `temperature` is tau_s of eq. 5.
        """
        logits = self.symbol(images)
        draws = None if noise is None else noise.uniform("symbols", tuple(logits.shape[1:]))
        symbols = gumbel_softmax(logits, temperature, draws)
        gate, importance = self.gates(images, noise)
        return Message(symbols, gate), importance
