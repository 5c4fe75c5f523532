"""The speaker: names each patch and chooses the patches to send (sec. 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.config.experiment import Experiment
from pg_platform.game.backbones import MOST_HALVINGS, ResNet
from pg_platform.game.message import Message
from pg_platform.game.sampling import Noise, bernoulli_gate, gumbel_softmax
from pg_platform.game.soft_rank import soft_rank


class PatchSpeaker(nn.Module):
    """theta_symb and theta_rank, joined by eq. 9."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.symbol = PatchSymbol(experiment)
        self.rank = PatchRank(experiment)

    def forward(
        self, images: Tensor, temperature: float, noise: Noise | None
    ) -> tuple[Message, Tensor]:
        """A message about images (batch, 3, side, side), and importances (batch, patches).

        Sampled with `noise`; without, the most probable message. `temperature` is tau_s of eq. 5.
        """
        logits = self.symbol(images)
        importance = self.rank(images)
        draws = None if noise is None else noise.uniform("symbols", tuple(logits.shape[1:]))
        symbols = gumbel_softmax(logits, temperature, draws)
        return Message(symbols, self.rank.gate(importance, noise)), importance


class PatchSymbol(nn.Module):
    """An MLP from the pixels of one patch, and of no other, to symbol logits (eq. 4)."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        speaker = experiment.speaker
        self.patch_size = speaker.patch_size
        self.shape = (speaker.symbols_per_patch, speaker.vocab_size)
        first = nn.Linear(3 * speaker.patch_size**2, speaker.hidden)
        last = nn.Linear(speaker.hidden, math.prod(self.shape))
        if speaker.initial_logit_std is not None:
            _give_gain(first, math.sqrt(2))
            _give_gain(last, speaker.initial_logit_std)
        self.mlp = nn.Sequential(first, nn.GELU(), last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, patches, symbols per patch, vocabulary); patches row by row."""
        side = self.patch_size
        patches = images.unfold(2, side, side).unfold(3, side, side)  # (b, 3, rows, columns, S, S)
        pixels = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        logits: Tensor = self.mlp(pixels).unflatten(-1, self.shape)
        return logits


class PatchRank(nn.Module):
    """A ResNet-9 that looks at the whole image and says how important each patch is."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.settings = experiment.speaker.rank
        self.grid = experiment.data.image_size // experiment.speaker.patch_size
        # As many halvings as leave a map no coarser than the grid of patches.
        halvings = min(MOST_HALVINGS, experiment.speaker.patch_size.bit_length() - 1)
        self.backbone = ResNet((1, 1, 1, 1), self.settings.width, halvings)
        # No bias: importances are centred in each image.
        self.score = nn.Conv2d(self.backbone.out_channels, 1, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Importances (batch, patches), patches row by row; mean 0, variance 1 in each image."""
        features = self.backbone(images)
        # bfloat16 has too few digits to rank some hundred patches.
        with torch.autocast(images.device.type, enabled=False):
            scores = F.adaptive_avg_pool2d(self.score(features.float()), self.grid).flatten(1)
            variance, mean = torch.var_mean(scores, dim=1, correction=0, keepdim=True)
            importance: Tensor = (scores - mean) * (variance + 1e-6).rsqrt()
        return importance

    def keep_probability(self, importance: Tensor) -> Tensor:
        """r/K of eq. 8, clamped, from importances (batch, patches).

        Importances are given the spread of the ranks 1..K first, so that a strength means the
        same for every K.
        """
        patches = importance.shape[1]
        spread = importance * (patches / math.sqrt(12))
        share = soft_rank(spread, self.settings.soft_rank_strength) / patches
        return share.clamp(self.settings.gate_clamp, 1 - self.settings.gate_clamp)

    def gate(self, importance: Tensor, noise: Noise | None) -> Tensor:
        """Which patches are sent, (batch, patches) 0/1 (eq. 8)."""
        draws = None if noise is None else noise.uniform("gate", tuple(importance.shape[1:]))
        keep = self.keep_probability(importance)
        return bernoulli_gate(keep, self.settings.gate_temperature, draws)


def _give_gain(layer: nn.Linear, gain: float) -> None:
    """Start again with outputs of `gain` times the root mean square of the inputs."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
    nn.init.zeros_(layer.bias)
