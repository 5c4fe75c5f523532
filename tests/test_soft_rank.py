"""Soft ranks against 192 cases computed with google-research/fast-soft-sort, and by property.

The cases are 96 inputs in both directions; rows are stored end to end, in the order of `cases`
(index, K, strength, direction, kind of input).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pg_platform.game.soft_rank import soft_rank


@dataclass(frozen=True)
class Case:
    name: str
    strength: float
    descending: bool
    scores: Tensor
    grad_out: Tensor
    ranks: Tensor
    grad_in: Tensor


def _reference() -> list[Case]:
    stored = np.load(Path(__file__).parent / "data" / "soft_rank_l2.npz")
    shapes = stored["shapes"]
    ends = np.cumsum(shapes.prod(axis=1))[:-1]
    arrays = zip(
        *(
            [torch.from_numpy(a.reshape(s)) for a, s in zip(flat, shapes, strict=True)]
            for flat in (np.split(stored[k], ends) for k in ("x", "grad_out", "rank", "grad_in"))
        ),
        strict=True,
    )
    cases = []
    for text, tensors in zip(stored["cases"], arrays, strict=True):
        _, _, strength, direction, _ = str(text).split(",")
        cases.append(Case(str(text), float(strength), direction == "DESCENDING", *tensors))
    return cases


REFERENCE = _reference()
rows = st.builds(
    lambda seed, k: torch.randn(
        (3, k), dtype=torch.double, generator=torch.Generator().manual_seed(seed)
    ),
    st.integers(0, 2**31),
    st.integers(1, 20),
)


def test_the_reference_is_whole() -> None:
    assert len(REFERENCE) == 192
    assert sum(case.descending for case in REFERENCE) == 96


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case.name)
def test_ranks_and_gradients_equal_the_reference(case: Case) -> None:
    scores = case.scores.clone().requires_grad_()
    ranks = soft_rank(-scores if case.descending else scores, case.strength)
    (grad,) = torch.autograd.grad(ranks, scores, case.grad_out)
    torch.testing.assert_close(ranks.detach(), case.ranks, rtol=0, atol=1e-9)
    torch.testing.assert_close(grad, case.grad_in, rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(rows, st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_gradient_equals_finite_differences_away_from_ties(scores: Tensor, strength: float) -> None:
    spread = scores * scores.shape[1]
    assume(_breadth(soft_rank(spread, strength), spread / strength) > 1e-3)
    assert torch.autograd.gradcheck(lambda x: soft_rank(x, strength), spread.requires_grad_())


def _breadth(ranks: Tensor, scaled: Tensor) -> float:
    """How far the closest two blocks, or two scores, of any row lie from becoming one."""
    gaps = [
        values.sort(dim=1).values.diff(dim=1) for values in (scaled - ranks, scaled)
    ]  # equal to 1e-9 inside a block, apart between blocks
    return min(
        (float(g[g > 1e-9].min()) for g in gaps if bool((g > 1e-9).any())), default=float("inf")
    )


@settings(deadline=None)
@given(rows)
def test_a_small_strength_gives_hard_ranks_and_the_largest_score_gets_k(scores: Tensor) -> None:
    hard = scores.argsort(dim=1).argsort(dim=1) + 1.0
    gaps = scores.sort(dim=1).values.diff(dim=1)
    assume(bool((gaps > 1e-4).all()))
    torch.testing.assert_close(soft_rank(scores, 1e-5), hard.double())


@settings(deadline=None)
@given(rows, st.floats(0.01, 10), st.floats(-5, 5))
def test_ranks_sum_to_a_constant_and_know_no_offset(
    scores: Tensor, strength: float, offset: float
) -> None:
    patches = scores.shape[1]
    ranks = soft_rank(scores, strength)
    total = torch.full((3,), patches * (patches + 1) / 2, dtype=torch.double)
    torch.testing.assert_close(ranks.sum(dim=1), total)
    torch.testing.assert_close(soft_rank(scores + offset, strength), ranks)


@pytest.mark.parametrize("patches", [1, 2, 49])
def test_equal_scores_share_the_mean_rank_and_their_gradient_cancels(patches: int) -> None:
    scores = torch.zeros(2, patches, requires_grad=True)
    ranks = soft_rank(scores, 1.0)
    assert ranks.tolist() == [[(patches + 1) / 2] * patches] * 2
    (grad,) = torch.autograd.grad(ranks, scores, torch.arange(2.0 * patches).view(2, -1))
    centred = torch.arange(patches) - (patches - 1) / 2  # one block: less its mean
    torch.testing.assert_close(grad, centred.expand(2, -1))


def test_float32_ranks_of_196_patches_agree_with_double() -> None:
    scores = torch.randn(8, 196, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    ranks = soft_rank(50 * scores, 1.0)
    single = soft_rank((50 * scores).float(), 1.0)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), ranks, rtol=0, atol=1e-3)
