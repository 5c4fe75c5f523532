"""The speaker: names each patch and chooses the patches to send (sec. 3.2)."""

from __future__ import annotations

from torch import Tensor, nn

from pg_platform.config.experiment import Experiment
from pg_platform.game.gates import build_gates
from pg_platform.game.message import Message
from pg_platform.game.sampling import Noise, gumbel_softmax
from pg_platform.game.symbols import PatchSymbol


class PatchSpeaker(nn.Module):
    """theta_symb and theta_rank, joined by eq. 9."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.symbol = PatchSymbol(experiment)
        self.gates = build_gates(experiment)

    def forward(
        self, images: Tensor, temperature: float, noise: Noise | None
    ) -> tuple[Message, Tensor]:
        """A message about images (batch, 3, side, side), and importances (batch, patches).

        Sampled with `noise`; without, the most probable message. `temperature` is tau_s of eq. 5.
        """
        logits = self.symbol(images)
        draws = None if noise is None else noise.uniform("symbols", tuple(logits.shape[1:]))
        symbols = gumbel_softmax(logits, temperature, draws)
        gate, importance = self.gates(images, noise)
        return Message(symbols, gate), importance
