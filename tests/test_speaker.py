"""The speaker names patches one by one and ranks them in their image."""

from __future__ import annotations

import pytest
import torch

from pg_platform.config.experiment import Experiment
from pg_platform.game.sampling import Noise
from pg_platform.game.speaker import PatchRank, PatchSpeaker, PatchSymbol
from tests.small import SMALL, merged

SETTINGS = {"data": {"image_size": 32}, "speaker": {"patch_size": 8, "symbols_per_patch": 3}}
EXPERIMENT = Experiment.model_validate(merged(SMALL, SETTINGS))
PATCHES = 16


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(6, 3, 32, 32)


@pytest.mark.parametrize("patch", [0, 1, 4, 15])
def test_a_symbol_depends_on_its_own_patch_only(images: torch.Tensor, patch: int) -> None:
    row, column = 8 * (patch // 4), 8 * (patch % 4)
    changed = images.clone()
    changed[:, :, row : row + 8, column : column + 8] += 1
    symbol = PatchSymbol(EXPERIMENT)
    with torch.no_grad():
        difference = (symbol(changed) - symbol(images)).abs().amax(dim=(0, 2, 3))
    assert difference[patch] > 1e-3
    assert difference.sum() == difference[patch]


def test_equal_patches_get_equal_logits(images: torch.Tensor) -> None:
    tiled = images[:, :, :8, :8].repeat(1, 1, 4, 4)
    logits = PatchSymbol(EXPERIMENT)(tiled)
    assert logits.shape == (6, PATCHES, 3, 8)
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits))


def test_symbols_at_the_start_say_something_about_the_patch(images: torch.Tensor) -> None:
    """Logits far below the Gumbel noise would send noise, from which nothing is learned."""
    gumbel_deviation = torch.pi / 6**0.5
    assert PatchSymbol(EXPERIMENT)(images).detach().std(dim=0).mean() > gumbel_deviation


def test_importances_have_mean_0_and_variance_1_in_each_image(images: torch.Tensor) -> None:
    importance = PatchRank(EXPERIMENT)(images).detach()
    torch.testing.assert_close(importance.mean(1), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(importance.var(1, correction=0), torch.ones(6), rtol=0, atol=1e-2)


@pytest.mark.parametrize(("patch", "mirrored"), [(3, 12), (12, 3), (2, 8), (8, 2)])
def test_importances_lie_where_their_patches_lie(patch: int, mirrored: int) -> None:
    """What changes in one patch moves its own score more than that of its mirror image."""
    torch.manual_seed(0)
    row, column = 8 * (patch // 4), 8 * (patch % 4)
    flat = torch.zeros(16, 3, 32, 32)
    changed = flat.clone()
    changed[:, :, row : row + 8, column : column + 8] = torch.randn(16, 3, 8, 8)
    rank = PatchRank(EXPERIMENT).eval()
    with torch.no_grad():
        scores = [rank.score(rank.backbone(x)).flatten(1) for x in (flat, changed)]
    moved = (scores[1] - scores[0]).abs().mean(dim=0)
    assert moved[patch] > 2 * moved[mirrored]


@pytest.mark.parametrize("patches", [16, 49, 196])
def test_keep_probabilities_are_ranks_over_k_clamped(patches: int) -> None:
    generator = torch.Generator().manual_seed(0)
    importance = torch.randn(32, patches, generator=generator)
    keep = PatchRank(EXPERIMENT).keep_probability(importance)
    assert keep.min() >= 0.02
    assert keep.max() <= 0.98
    assert keep.gather(1, importance.argsort(dim=1)).diff(dim=1).min() > -1e-6
    torch.testing.assert_close(
        keep.mean(1), torch.full((32,), (patches + 1) / 2 / patches), rtol=0, atol=0.02
    )
    assert 0.2 < keep.std(1).mean() < 0.3  # uniform ranks have 0.29, whatever K is


def test_more_probable_patches_are_sent_more_often(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    speaker = PatchSpeaker(EXPERIMENT)
    with torch.no_grad():
        keep = speaker.rank.keep_probability(speaker.rank(images))
        rounds = [
            speaker(images, 1.0, Noise(0, step, slice(0, 6), 6, images.device))[0].gate
            for step in range(200)
        ]
    assert float((torch.stack(rounds).mean(0) - keep).abs().max()) < 0.15  # 4 deviations
    decided = speaker(images, 1.0, None)[0]
    assert torch.equal(decided.gate, (keep >= 0.5).float())
    assert torch.equal(decided.ids(), speaker.symbol(images).argmax(-1))
