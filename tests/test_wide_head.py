"""Cosines between 65,536-wide embeddings, from vectors as wide as their bottlenecks."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pg_platform.game.wide_head import WideLayer, WidePair

FORMS: tuple[Literal["plain", "gram"], ...] = ("plain", "gram")


def _pair(form: Literal["auto", "plain", "gram"], bottleneck: int, out: int) -> WidePair:
    torch.manual_seed(0)
    return WidePair(bottleneck, out, form)


def _bottlenecks(seed: int, rows: int, width: int) -> list[Tensor]:
    """Text and image, in double, of lengths that are not 1."""
    generator = torch.Generator().manual_seed(seed)
    both = 3 * torch.randn(2, rows, width, dtype=torch.double, generator=generator)
    return [modality.requires_grad_() for modality in both]


def _by_definition(pair: WidePair, text: Tensor, image: Tensor) -> Tensor:
    """Cosines of the wide embeddings, one layer and one row of weights at a time."""
    wide = []
    for layer, bottleneck in ((pair.text, text), (pair.image, image)):
        weight = F.normalize(layer.weight_v, dim=1)  # weight norm whose g is 1
        wide.append(torch.einsum("rb,ob->ro", bottleneck, weight))
    return F.cosine_similarity(wide[0].unsqueeze(1), wide[1].unsqueeze(0), dim=2)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 12), st.integers(2, 40))
def test_cosines_and_all_gradients_are_those_of_the_definition(
    form: Literal["plain", "gram"], seed: int, rows: int, width: int, times: int
) -> None:
    pair = _pair(form, width, width * times).double()
    bottlenecks = _bottlenecks(seed, rows, width)
    text, image = pair.factors(*bottlenecks)
    cosines, wanted = text @ image.T, _by_definition(pair, *bottlenecks)
    torch.testing.assert_close(cosines, wanted, rtol=0, atol=1e-12)
    leaves = [*bottlenecks, pair.text.weight_v, pair.image.weight_v]
    loss = torch.linspace(-1, 2, rows * rows, dtype=torch.double).view(rows, rows)
    ours = torch.autograd.grad((loss * cosines).sum(), leaves)
    theirs = torch.autograd.grad((loss * wanted).sum(), leaves)
    for gradient, other in zip(ours, theirs, strict=True):
        assert (gradient - other).norm() <= 1e-12 * (1 + other.norm())


def test_the_full_width_agrees_in_double_and_in_float32() -> None:
    """256 -> 65,536, where sums are longest: 1e-12 in double, 1e-5 of a cosine in float32."""
    pair = _pair("plain", 256, 65_536)
    bottlenecks = _bottlenecks(0, 6, 256)
    single = {form: _cosines(pair, form, [b.float() for b in bottlenecks]) for form in FORMS}
    pair.double()
    exact = {form: _cosines(pair, form, bottlenecks) for form in FORMS}
    torch.testing.assert_close(exact["gram"], exact["plain"], rtol=0, atol=1e-12)
    for form in FORMS:
        assert single[form].dtype == torch.float32
        torch.testing.assert_close(single[form].double(), exact["plain"], rtol=0, atol=1e-5)


@torch.no_grad()
def _cosines(pair: WidePair, form: Literal["plain", "gram"], bottlenecks: list[Tensor]) -> Tensor:
    pair.form = form
    text, image = pair.factors(*bottlenecks)
    return text @ image.T


@pytest.mark.parametrize("form", FORMS)
def test_autocast_changes_nothing(form: Literal["plain", "gram"]) -> None:
    pair = _pair(form, 16, 512)
    text, image = (b.detach().bfloat16() for b in _bottlenecks(0, 4, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = (*pair.factors(text, image), pair.text(text))
    outside = (*pair.factors(text.float(), image.float()), pair.text(text.float()))
    for ours, wanted in zip(inside, outside, strict=True):
        assert torch.equal(ours, wanted)


def test_a_batch_of_512_gathers_no_more_than_1_1_mb() -> None:
    text, image = (b.detach().float() for b in _bottlenecks(0, 512, 256))
    factors = _pair("auto", 256, 65_536).factors(text, image)
    assert sum(f.numel() * f.element_size() for f in factors) <= 1.1e6


def test_auto_takes_the_plain_form_for_few_rows_and_the_other_for_many() -> None:
    pair = _pair("auto", 8, 64)
    widths = [
        pair.factors(*(b.float() for b in _bottlenecks(0, rows, 8)))[0].shape[1]
        for rows in (8, 512)
    ]
    assert widths == [64, 8]


def test_the_wide_embedding_has_length_1_and_is_what_the_plain_form_compares() -> None:
    pair = _pair("plain", 8, 64).double()
    text, image = _bottlenecks(0, 5, 8)
    wide = pair.text(text)
    assert wide.shape == (5, 64)
    torch.testing.assert_close(wide.norm(dim=1), torch.ones(5, dtype=torch.double))
    torch.testing.assert_close(
        wide @ pair.image(image).T, _by_definition(pair, text, image), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_bottleneck_of_zeros_has_cosine_0_and_finite_gradients(
    form: Literal["plain", "gram"],
) -> None:
    pair = _pair(form, 4, 16)
    text, image = (torch.zeros(1, 4, requires_grad=True) for _ in range(2))
    factors = pair.factors(text, image)
    cosine = (factors[0] @ factors[1].T).sum()
    assert cosine == 0
    for gradient in torch.autograd.grad(cosine, [text, image, pair.text.weight_v]):
        assert gradient.isfinite().all()


def test_rows_of_the_weights_have_the_length_g() -> None:
    layer = WideLayer(256, 65_536)
    lengths = layer.weight().norm(dim=1, keepdim=True)
    torch.testing.assert_close(lengths, torch.ones(65_536, 1))
    with torch.no_grad():
        layer.weight_g.mul_(2)
    torch.testing.assert_close(layer.weight().norm(dim=1, keepdim=True), 2 * lengths)
    assert sum(p.numel() for p in layer.parameters()) == 65_536 * 257
