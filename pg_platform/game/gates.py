"""Gates: which patches of an image are sent (eq. 8).

Each takes images (batch, 3, side, side) and gives gates and importances, (batch, patches) each.
Gates are 0 or 1 (but for a soft sample); importances have mean 0 and variance 1 in each image, and
are 0 where nothing is ranked. With noise gates are sampled, without it they are the most probable.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from pg_platform.config.experiment import (
    AdaptiveGate,
    AllGate,
    BernoulliGate,
    CustomGate,
    Experiment,
    RandomGate,
    SoftRank,
    TopGate,
)
from pg_platform.config.seeds import stream
from pg_platform.game.batch_norm import BatchNorm2d
from pg_platform.game.custom import build_custom
from pg_platform.game.ranks import build_rank, rank_shares, standardised
from pg_platform.game.sampling import Noise, bernoulli_gate, straight_through


def build_gates(experiment: Experiment) -> nn.Module:
    """The gate that `speaker.gate` names."""
    match experiment.speaker.gate:
        case BernoulliGate() as gate:
            return BernoulliGates(gate, experiment.speaker.soft_rank, build_rank(experiment))
        case TopGate() as gate:
            return TopGates(gate, experiment.speaker.soft_rank, build_rank(experiment))
        case AdaptiveGate() as gate:
            return AdaptiveGates(gate, build_rank(experiment))
        case AllGate():
            return AllGates(experiment.patches)
        case RandomGate() as gate:
            return RandomGates(gate, experiment.patches)
        case CustomGate() as gate:
            return build_custom(gate, experiment)
        case gate:
            assert_never(gate)


class BernoulliGates(nn.Module):
    """Each patch by chance, with a logit that its soft rank decides."""

    def __init__(self, gate: BernoulliGate, ranks: SoftRank, rank: nn.Module) -> None:
        super().__init__()
        self.settings, self.ranks, self.rank = gate, ranks, rank

    def forward(self, images: Tensor, noise: Noise | None) -> tuple[Tensor, Tensor]:
        scores = self.rank(images)
        logits = self.logits(rank_shares(scores, self.ranks))
        soft = self.settings.sample == "soft"
        return _sampled(logits, self.settings.temperature, noise, soft=soft), standardised(scores)

    def logits(self, shares: Tensor) -> Tensor:
        """Of the probability to send, from r/K (batch, patches)."""
        match self.settings.law:
            case "odds":
                # A rank of K means a probability of 1, whose logit is infinite.
                least = max(self.settings.clamp, torch.finfo(torch.float32).eps)
                return torch.logit(shares.clamp(least, 1 - least))
            case "difference":
                return 2 * shares - 1


class TopGates(nn.Module):
    """The patches of the highest ranks, always as many; the gradient is that of a sigmoid."""

    def __init__(self, gate: TopGate, ranks: SoftRank, rank: nn.Module) -> None:
        super().__init__()
        self.settings, self.ranks, self.rank = gate, ranks, rank

    def forward(self, images: Tensor, noise: Noise | None) -> tuple[Tensor, Tensor]:
        del noise  # the ranks decide alone
        scores = self.rank(images)
        shares = rank_shares(scores, self.ranks)
        sent = torch.zeros_like(shares).scatter_(
            1, scores.topk(_sent(self.settings.share, scores.shape[1]), dim=1).indices, 1.0
        )
        threshold = 1 - self.settings.share
        soft = torch.sigmoid((shares - threshold) / self.settings.temperature)
        return straight_through(sent, soft), standardised(scores)


class AdaptiveGates(nn.Module):
    """Each patch by chance, with a logit that is normalised over the batch and not per image."""

    def __init__(self, gate: AdaptiveGate, rank: nn.Module) -> None:
        super().__init__()
        self.settings, self.rank = gate, rank
        self.norm = BatchNorm2d(1, affine=False)
        self.offset = float(torch.logit(torch.tensor(gate.share)))

    def forward(self, images: Tensor, noise: Noise | None) -> tuple[Tensor, Tensor]:
        scores = self.rank(images)
        logits = self.norm(scores[:, None, :, None]).flatten(1) + self.offset
        gate = _sampled(logits, self.settings.temperature, noise, soft=False)
        return gate, standardised(scores)


class AllGates(nn.Module):
    """Every patch."""

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.patches = patches

    def forward(self, images: Tensor, noise: Noise | None) -> tuple[Tensor, Tensor]:
        del noise  # nothing is left to chance
        gate = torch.ones(images.shape[0], self.patches, device=images.device)
        return gate, torch.zeros_like(gate)


class RandomGates(nn.Module):
    """A number of patches by chance; without noise the same patches of every image."""

    def __init__(self, gate: RandomGate, patches: int) -> None:
        super().__init__()
        self.patches, self.sent = patches, _sent(gate.share, patches)
        generator = torch.Generator().manual_seed(stream(0, "random_k"))
        self.register_buffer("order", torch.rand(patches, generator=generator))

    def forward(self, images: Tensor, noise: Noise | None) -> tuple[Tensor, Tensor]:
        if noise is None:
            draws = self.get_buffer("order").expand(images.shape[0], -1)
        else:
            draws = noise.uniform("gate", (self.patches,))
        gate = torch.zeros_like(draws).scatter_(1, draws.topk(self.sent, dim=1).indices, 1.0)
        return gate, torch.zeros_like(gate)


def _sampled(logits: Tensor, temperature: float, noise: Noise | None, *, soft: bool) -> Tensor:
    draws = None if noise is None else noise.uniform("gate", tuple(logits.shape[1:]))
    return bernoulli_gate(logits, temperature, draws, soft=soft)


def _sent(share: float, patches: int) -> int:
    """How many of the patches are a share of them: one at least."""
    return max(1, round(share * patches))
