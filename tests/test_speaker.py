"""The speaker names patches one by one and ranks them in their image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor
from torch.nn import functional as F

from pg_platform.config.experiment import Experiment, SoftRank
from pg_platform.game.gates import BernoulliGates, build_gates
from pg_platform.game.pooling import average_pool
from pg_platform.game.ranks import build_rank, rank_shares, standardised
from pg_platform.game.sampling import Noise
from pg_platform.game.speaker import PatchSpeaker, build_symbol
from tests.small import SMALL, merged, without_nulls

SETTINGS = {"data": {"image_size": 32}, "speaker": {"patch_size": 8, "symbols_per_patch": 3}}
EXPERIMENT = Experiment.model_validate(merged(SMALL, SETTINGS))
PATCHES = 16
PER_PATCH: list[dict[str, Any]] = [{}, {"kind": "affine", "hidden": None}]


def speaking(**speaker: Any) -> Experiment:
    """The experiment with changes to its speaker."""
    changed = merged(merged(SMALL, SETTINGS), {"speaker": speaker})
    return Experiment.model_validate(without_nulls(changed))


def noise(step: int, rows: int = 6) -> Noise:
    return Noise(0, step, range(rows), torch.device("cpu"))


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(6, 3, 32, 32)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
def test_scores_are_pooled_as_torch_pools_them(height: int, width: int, grid: int) -> None:
    scores = torch.randn(2, height, width, dtype=torch.float64)
    theirs = F.adaptive_avg_pool2d(scores, grid)
    assert torch.allclose(average_pool(scores, grid), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("patch", [0, 1, 4, 15])
@pytest.mark.parametrize("symbol", PER_PATCH, ids=["mlp", "affine"])
def test_a_symbol_depends_on_its_own_patch_only(
    images: Tensor, symbol: dict[str, Any], patch: int
) -> None:
    row, column = 8 * (patch // 4), 8 * (patch % 4)
    changed = images.clone()
    changed[:, :, row : row + 8, column : column + 8] += 1
    names = build_symbol(speaking(symbol=symbol))
    with torch.no_grad():
        difference = (names(changed) - names(images)).abs().amax(dim=(0, 2, 3))
    assert difference[patch] > 1e-3
    assert difference.sum() == difference[patch]


def test_symbols_of_a_transformer_depend_on_the_whole_image(images: Tensor) -> None:
    symbol = {"kind": "vit", "width": 16, "depth": 1, "heads": 2}
    changed = images.clone()
    changed[:, :, :8, :8] += 1
    names = build_symbol(speaking(symbol=symbol))
    with torch.no_grad():
        difference = (names(changed) - names(images)).abs().amax(dim=(0, 2, 3))
    assert difference.min() > 1e-4


def test_equal_patches_get_equal_logits(images: Tensor) -> None:
    tiled = images[:, :, :8, :8].repeat(1, 1, 4, 4)
    logits = build_symbol(EXPERIMENT)(tiled)
    assert logits.shape == (6, PATCHES, 3, 8)
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits))


@pytest.mark.parametrize("symbol", PER_PATCH, ids=["mlp", "affine"])
@pytest.mark.parametrize("std", [3.0, 12.0])
def test_the_first_logits_have_the_deviation_that_was_asked_for(
    images: Tensor, symbol: dict[str, Any], std: float
) -> None:
    """Logits far below the Gumbel noise would send noise, from which nothing is learned."""
    names = build_symbol(speaking(symbol={**symbol, "initial_logit_std": std}))
    assert names(images).detach().std(dim=0).mean() == pytest.approx(std, rel=0.35)


def test_without_a_deviation_the_first_logits_are_those_of_pytorch(images: Tensor) -> None:
    experiment = EXPERIMENT.model_dump()
    experiment["speaker"]["symbol"]["initial_logit_std"] = None
    names = build_symbol(Experiment.model_validate(experiment))
    assert names(images).detach().std() < 0.5


@pytest.mark.parametrize(("patch", "mirrored"), [(3, 12), (12, 3), (2, 8), (8, 2)])
def test_scores_lie_where_their_patches_lie(patch: int, mirrored: int) -> None:
    """What changes in one patch moves its own score more than that of its mirror image."""
    torch.manual_seed(0)
    row, column = 8 * (patch // 4), 8 * (patch % 4)
    flat = torch.zeros(16, 3, 32, 32)
    changed = flat.clone()
    changed[:, :, row : row + 8, column : column + 8] = torch.randn(16, 3, 8, 8)
    rank = build_rank(EXPERIMENT).eval()
    with torch.no_grad():
        moved = (rank(flat) - rank(changed)).abs().mean(dim=0)
    assert moved[patch] > 2 * moved[mirrored]


def test_standardised_scores_have_mean_0_and_variance_1_in_each_image() -> None:
    scores = 3 * torch.randn(6, PATCHES, generator=torch.Generator().manual_seed(0)) - 1
    importance = standardised(scores)
    torch.testing.assert_close(importance.mean(1), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(importance.var(1, correction=0), torch.ones(6), rtol=0, atol=1e-4)
    assert torch.equal(importance.argsort(1), scores.argsort(1))


@pytest.mark.parametrize("patches", [16, 49, 196])
def test_shares_of_normalised_scores_are_ranks_over_k_for_every_k(patches: int) -> None:
    scores = torch.randn(32, patches, generator=torch.Generator().manual_seed(0))
    shares = rank_shares(scores, SoftRank())
    assert shares.gather(1, scores.argsort(dim=1)).diff(dim=1).min() > -1e-6
    mean = torch.full((32,), (patches + 1) / 2 / patches)
    torch.testing.assert_close(shares.mean(1), mean, rtol=0, atol=1e-5)
    assert 0.2 < shares.std(1).mean() < 0.3  # uniform ranks have 0.29, whatever K is


def test_shares_of_scores_as_they_are_are_nearly_flat_at_the_start() -> None:
    """The authors' soft ranks: importances of deviation 0.5 have shares of deviation 0.010."""
    scores = 0.5 * torch.randn(64, 49, generator=torch.Generator().manual_seed(0))
    shares = rank_shares(scores, SoftRank(normalize=False))
    assert shares.std(1).mean() == pytest.approx(0.010, abs=0.0005)


@pytest.mark.parametrize("law", ["odds", "difference"])
def test_patches_are_sent_as_often_as_their_law_says(images: Tensor, law: str) -> None:
    torch.manual_seed(0)
    experiment = speaking(gate={"law": law, "clamp": 0.05})
    speaker, rounds = PatchSpeaker(experiment), 400
    with torch.no_grad():
        shares = rank_shares(speaker.gates.get_submodule("rank")(images), SoftRank())
        gates = torch.stack([speaker(images, 1.0, noise(step))[0].gate for step in range(rounds)])
    odds = shares.clamp(0.05, 0.95)
    keep = odds if law == "odds" else torch.sigmoid(2 * shares - 1)
    low, high = binom.interval(0.9998, rounds, keep.numpy())
    sent = gates.sum(0).numpy()
    assert ((low <= sent) & (sent <= high)).all()
    assert set(gates.flatten().tolist()) == {0.0, 1.0}


def test_decided_messages_are_the_most_probable(images: Tensor) -> None:
    speaker = PatchSpeaker(EXPERIMENT)
    decided, importance = speaker(images, 1.0, None)
    shares = rank_shares(speaker.gates.get_submodule("rank")(images), SoftRank())
    assert torch.equal(decided.gate, (shares >= 0.5).float())
    assert torch.equal(decided.ids(), speaker.symbol(images).argmax(-1))
    assert torch.equal(importance.argsort(1), shares.argsort(1))


def test_a_soft_gate_has_no_zero_and_no_one_and_all_values_differ(images: Tensor) -> None:
    """As measured in the authors' code: 392 of 392 gates differ, and probabilities are moderate."""
    experiment = speaking(
        gate={"sample": "soft", "law": "difference"}, soft_rank={"normalize": False}
    )
    gate = PatchSpeaker(experiment)(images, 1.0, noise(0))[0].gate
    assert len(set(gate.flatten().tolist())) == gate.numel()
    assert gate.min() > 0
    assert gate.max() < 1
    ranks = torch.arange(1, 50) / 49
    gates = build_gates(experiment)
    assert isinstance(gates, BernoulliGates)
    probabilities = gates.logits(ranks).sigmoid()
    assert probabilities.min().item() == pytest.approx(0.28, abs=0.005)
    assert probabilities.max().item() == pytest.approx(0.73, abs=0.005)


@pytest.mark.parametrize(("share", "sent"), [(0.5, 8), (0.25, 4), (0.01, 1)])
def test_the_top_patches_are_those_of_the_highest_scores(
    images: Tensor, share: float, sent: int
) -> None:
    gates = build_gates(speaking(gate={"kind": "top_k", "share": share}))
    gate, importance = gates(images, noise(0))
    assert gate.sum(1).tolist() == [sent] * 6
    assert importance[gate == 1].min() > importance.amin()
    for row, scores in zip(gate, importance, strict=True):
        assert set(scores.topk(sent).indices.tolist()) == set(row.nonzero().flatten().tolist())
    assert torch.equal(gates(images, noise(1))[0], gate)


def test_random_patches_are_as_many_and_others_at_each_step(images: Tensor) -> None:
    gates = build_gates(speaking(gate={"kind": "random_k", "share": 0.25}))
    drawn = torch.stack([gates(images, noise(step))[0] for step in range(300)])
    assert (drawn.sum(2) == 4).all()
    low, high = binom.interval(0.9998, 300 * 6, 0.25)
    assert ((low <= drawn.sum((0, 1))) & (drawn.sum((0, 1)) <= high)).all()
    decided, importance = gates(images, None)
    assert torch.equal(decided, decided[:1].expand_as(decided))
    assert not importance.any()


def test_all_patches_are_sent_and_nothing_is_ranked(images: Tensor) -> None:
    speaker = PatchSpeaker(speaking(gate={"kind": "all"}))
    message, importance = speaker(images, 1.0, noise(0))
    assert bool((message.gate == 1).all())
    assert not importance.any()
    assert list(speaker.gates.parameters()) == []


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_an_adaptive_gate_keeps_its_share_over_the_batch_and_not_in_each_image(
    share: float,
) -> None:
    """Ranks give each image the same expected length; this gate does not."""
    images = torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def lengths(gate: dict[str, Any]) -> Tensor:
        torch.manual_seed(0)
        gates = build_gates(speaking(gate=gate))
        with torch.no_grad():
            return torch.stack([gates(images, noise(i, 48))[0].sum(1) for i in range(100)]).mean(0)

    adaptive, ranked = lengths({"kind": "adaptive", "share": share}), lengths({})
    assert adaptive.mean().item() == pytest.approx(share * PATCHES, rel=0.15)
    assert adaptive.std() > 2 * ranked.std()
