"""Soft ranks against 192 cases computed with google-research/fast-soft-sort, and by property.

The cases are 96 inputs in both directions; rows are stored end to end, in the order of `cases`
(index, K, strength, direction, kind of input).
"""

from __future__ import annotations

import importlib.util
import weakref
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pg_platform.game.soft_rank import Implementation, soft_rank


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
EXACT: tuple[Implementation, ...] = ("minimax", "isotonic")
STRENGTHS = [1e-300, 1e-9, 1e-3, 0.1, 1.0, 30.0, 1e6, 1e300]
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


@pytest.mark.parametrize("implementation", EXACT)
@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case.name)
def test_ranks_and_gradients_equal_the_reference(
    case: Case, implementation: Implementation
) -> None:
    scores = case.scores.clone().requires_grad_()
    ranks = soft_rank(-scores if case.descending else scores, case.strength, implementation)
    (grad,) = torch.autograd.grad(ranks, scores, case.grad_out)
    torch.testing.assert_close(ranks.detach(), case.ranks, rtol=0, atol=1e-9)
    torch.testing.assert_close(grad, case.grad_in, rtol=0, atol=1e-9)


@pytest.mark.parametrize("implementation", EXACT)
@settings(max_examples=25, deadline=None)
@given(rows, st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_gradient_equals_finite_differences_away_from_ties(
    implementation: Implementation, scores: Tensor, strength: float
) -> None:
    spread = scores * scores.shape[1]
    assume(_breadth(soft_rank(spread, strength, implementation), spread / strength) > 1e-3)
    assert torch.autograd.gradcheck(
        lambda x: soft_rank(x, strength, implementation), spread.requires_grad_()
    )


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
    torch.testing.assert_close(soft_rank(scores, 1e-5, "auto"), hard.double())


@settings(deadline=None)
@given(rows, st.floats(0.01, 10), st.floats(-5, 5))
def test_ranks_sum_to_a_constant_and_know_no_offset(
    scores: Tensor, strength: float, offset: float
) -> None:
    patches = scores.shape[1]
    ranks = soft_rank(scores, strength, "auto")
    total = torch.full((3,), patches * (patches + 1) / 2, dtype=torch.double)
    torch.testing.assert_close(ranks.sum(dim=1), total)
    torch.testing.assert_close(soft_rank(scores + offset, strength, "auto"), ranks)


@pytest.mark.parametrize("implementation", EXACT)
@pytest.mark.parametrize("patches", [1, 2, 49, 400])
def test_equal_scores_share_the_mean_rank_and_their_gradient_cancels(
    patches: int, implementation: Implementation
) -> None:
    scores = torch.zeros(2, patches, requires_grad=True)
    ranks = soft_rank(scores, 1.0, implementation)
    assert ranks.tolist() == [[(patches + 1) / 2] * patches] * 2
    (grad,) = torch.autograd.grad(ranks, scores, torch.arange(2.0 * patches).view(2, -1))
    centred = torch.arange(patches) - (patches - 1) / 2  # one block: less its mean
    torch.testing.assert_close(grad, centred.expand(2, -1))


@pytest.mark.parametrize("implementation", EXACT)
@pytest.mark.parametrize("patches", [3, 49, 400])
def test_blocks_that_differ_by_rounding_are_one_as_in_the_published_form(
    patches: int, implementation: Implementation
) -> None:
    """Scores one strength apart sit where blocks meet; 0.1 is no binary fraction."""
    scores = (torch.arange(patches, dtype=torch.double) * 0.1).view(1, -1).requires_grad_()
    ranks = soft_rank(scores, 0.1, implementation)
    wanted = torch.linspace(-1, 1, patches, dtype=torch.double).square().view(1, -1)
    (grad,) = torch.autograd.grad(ranks, scores, wanted)
    torch.testing.assert_close(0.1 * grad, wanted - wanted.mean(), rtol=0, atol=1e-9)


def test_float32_ranks_of_196_patches_agree_with_double() -> None:
    scores = torch.randn(8, 196, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    ranks = soft_rank(50 * scores, 1.0, "auto")
    single = soft_rank((50 * scores).float(), 1.0, "auto")
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), ranks, rtol=0, atol=1e-3)


def _scores(seed: int, patches: int, kind: str) -> Tensor:
    """Five rows (5, patches) of the kinds on which an isotonic regression can go astray."""
    drawn = torch.randn(
        (5, patches), dtype=torch.double, generator=torch.Generator().manual_seed(seed)
    )
    match kind:
        case "spread":
            return drawn * patches / 3
        case "ties":
            return (drawn * 3).round()
        case "constant":
            return drawn[:, :1].expand(-1, patches).contiguous()
        case "hard ranks":
            return drawn.argsort(dim=1).double()
        case _:  # between gaps of up to 1e9, blocks as above
            return drawn + (drawn * 2).round() * 1e9


kinds = st.sampled_from(["spread", "ties", "constant", "hard ranks", "far apart"])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 400), kinds, st.sampled_from(STRENGTHS))
def test_both_forms_give_the_same_ranks_and_gradients(
    seed: int, patches: int, kind: str, strength: float
) -> None:
    scores = _scores(seed, patches, kind).requires_grad_()
    table, fit = (soft_rank(scores, strength, form) for form in EXACT)
    torch.testing.assert_close(table, fit, rtol=0, atol=1e-9)
    wanted = torch.linspace(-1, 1, patches, dtype=torch.double).expand(5, -1)
    gradients = [torch.autograd.grad(r, scores, wanted)[0] * strength for r in (table, fit)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-9)


@pytest.mark.parametrize("implementation", EXACT)
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), kinds, st.sampled_from(STRENGTHS[:-1]))
def test_ranks_equal_those_of_rational_arithmetic(
    implementation: Implementation, seed: int, patches: int, kind: str, strength: float
) -> None:
    scores = _scores(seed, patches, kind)
    exact = [_rational_ranks(row, strength) for row in scores.tolist()]
    wanted = torch.tensor(exact, dtype=torch.double)
    ranks = soft_rank(scores, strength, implementation)
    torch.testing.assert_close(ranks, wanted, rtol=0, atol=1e-9)


def _rational_ranks(row: list[float], strength: float) -> list[float]:
    """The definition without rounding: pool-adjacent-violators over fractions."""
    order = sorted(range(len(row)), key=lambda i: -row[i])
    scaled = [Fraction(row[i]) / Fraction(strength) for i in order]
    pools: list[list[Fraction]] = []
    for place, value in enumerate(scaled):
        pools.append([value - (len(row) - place)])
        while len(pools) > 1 and _mean(pools[-2]) < _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    fit = [_mean(pool) for pool in pools for _ in pool]
    ranks = dict(zip(order, (s - v for s, v in zip(scaled, fit, strict=True)), strict=True))
    return [float(ranks[i]) for i in range(len(row))]


def _mean(pool: list[Fraction]) -> Fraction:
    return sum(pool, Fraction(0)) / len(pool)


@pytest.mark.parametrize("implementation", EXACT)
def test_rows_do_not_depend_on_what_stands_beside_them(implementation: Implementation) -> None:
    """Also across the parts into which a batch is cut: here the table alone would be 655 MB."""
    scores = _scores(0, 400, "spread").repeat(103, 1)[:512] + torch.arange(512.0).view(-1, 1)
    scores[7, 3] = torch.nan
    ranks = soft_rank(scores, 1.0, implementation)
    for row in (0, 6, 8, 255, 511):
        alone = soft_rank(scores[row : row + 1], 1.0, implementation)
        assert torch.equal(ranks[row : row + 1], alone)
    assert ranks[7].isnan().any()
    assert not ranks[8:].isnan().any()


def test_400_patches_and_512_images_take_no_more_than_256_mib() -> None:
    """One whole table would be 655 MB, and the formula wants several."""
    scores = torch.randn(512, 400, requires_grad=True)
    with _Peak() as peak:
        torch.autograd.backward(soft_rank(scores, 1.0, "minimax"), torch.ones(512, 400))
    assert 0 < peak.most <= 256 * 2**20


class _Peak(TorchDispatchMode):
    """The most bytes that results of operations held at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self.holders: dict[int, list[int]] = {}  # by address: bytes, how many tensors hold them

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(given):
            storage = tensor.untyped_storage()
            self.holders.setdefault(storage.data_ptr(), [storage.nbytes(), 0])[1] += 1
            weakref.finalize(tensor, self._let_go, storage.data_ptr())
        self.most = max(self.most, sum(size for size, _ in self.holders.values()))
        return given

    def _let_go(self, address: int) -> None:
        self.holders[address][1] -= 1
        if not self.holders[address][1]:
            del self.holders[address]


class _NothingLeavesTheDevice(TorchDispatchMode):
    """Fails on operations whose result, or whose shape, the host has to wait for."""

    waits = ("_local_scalar_dense", "nonzero", "_to_copy", "masked_select", "unique", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        # A copy within the device, to another type, waits for nothing.
        copies = name == "_to_copy" and "device" not in (kwargs or {})
        assert copies or not name.startswith(self.waits), f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


NOTHING_LEAVES = _NothingLeavesTheDevice()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("patches", [1, 49, 400])
def test_the_minimax_form_never_waits_for_the_device(patches: int) -> None:
    """The meta device has no values: what asks for one fails there, copies to the host too."""
    scores = torch.randn(64, patches, device="meta", requires_grad=True)
    with NOTHING_LEAVES:
        ranks = soft_rank(scores, 1.0, "minimax")
        torch.autograd.backward(ranks, torch.ones_like(ranks))
    assert scores.grad is not None
    assert scores.grad.shape == scores.shape


def test_what_waits_is_noticed() -> None:
    with NOTHING_LEAVES, pytest.raises(AssertionError, match="waits for the device"):
        torch.ones(1).item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU")
def test_no_synchronisation_on_a_gpu() -> None:
    scores = torch.randn(512, 400, device="cuda", requires_grad=True)
    wanted = torch.ones(512, 400, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        ranks = soft_rank(scores, 1.0, "auto")
        (grad,) = torch.autograd.grad(ranks, scores, wanted)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(ranks.cpu(), soft_rank(scores.cpu(), 1.0, "isotonic"))
    assert grad.isfinite().all()


INSTALLED = importlib.util.find_spec("fast_soft_sort") is not None


@pytest.mark.skipif(not INSTALLED, reason="fast_soft_sort is on no package registry")
@pytest.mark.parametrize("patches", [1, 16, 49, 196])
def test_fast_soft_sort_gives_the_same_ranks_and_gradients(patches: int) -> None:
    scores = _scores(0, patches, "spread").requires_grad_()
    theirs, ours = (soft_rank(scores, 1.0, form) for form in ("fast_soft_sort", "auto"))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-9)
    gradients = [torch.autograd.grad(r.square().sum(), scores)[0] for r in (theirs, ours)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-7)


@pytest.mark.skipif(INSTALLED, reason="fast_soft_sort is installed")
def test_without_fast_soft_sort_the_error_says_where_it_is() -> None:
    with pytest.raises(ValueError, match=r"github\.com/google-research/fast-soft-sort.*use auto"):
        soft_rank(torch.ones(2, 3), 1.0, "fast_soft_sort")
