"""The contrastive loss of one worker; several are in test_two_workers.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from pg_platform.config.experiment import Contrast
from pg_platform.game.loss import ContrastiveLoss


def _embeddings(rows: int = 5, width: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    text, image = normalize(torch.randn(2, rows, width, generator=generator), dim=2)
    return text, image


def _loss(scale: float, **settings: Any) -> ContrastiveLoss:
    return ContrastiveLoss(Contrast(temperature=1 / scale, **settings))


def test_loss_is_eq_1_to_3_as_a_mean() -> None:
    text, image = _embeddings()
    loss = _loss(2.0)(text, image)[0].item()
    score = (2.0 * text @ image.T).exp().tolist()
    of_text = -sum(math.log(score[j][j] / sum(score[j])) for j in range(5)) / 5
    of_images = -sum(math.log(score[k][k] / sum(row[k] for row in score)) for k in range(5)) / 5
    assert loss == pytest.approx((of_text + of_images) / 2)


def test_top1_counts_messages_that_find_their_image() -> None:
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    _, top1 = _loss(10.0)(text, image)  # 0 finds 0, 1 finds 2, 2 finds 1
    assert float(top1) == pytest.approx(1 / 3)
    assert float(_loss(10.0)(image, text)[1]) == pytest.approx(1 / 3)
    _, all_found = _loss(10.0)(text, text)
    assert float(all_found) == 1.0


def test_the_scale_is_learned_and_held_below_its_bound() -> None:
    text, image = _embeddings()
    held = _loss(50.0)
    with torch.no_grad():
        held.log_scale.add_(5)
    loss, _ = held(text, image)
    loss.backward()
    assert loss.item() == pytest.approx(_loss(100.0)(text, image)[0].item())
    assert held.log_scale.exp().item() == pytest.approx(100.0)
    assert held.log_scale.grad is not None
    assert held.log_scale.grad > 0  # random pairs: the loss would fall with a smaller scale


def test_under_autocast_the_loss_stays_in_float32() -> None:
    text, image = _embeddings()
    loss = _loss(14.0)
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = loss(text, image)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, loss(text, image)[0])


def test_a_constant_temperature_is_no_parameter_and_is_kept_with_the_weights() -> None:
    constant = _loss(5.0, learned=False)
    assert list(constant.parameters()) == []
    assert constant.state_dict()["log_scale"].exp().item() == pytest.approx(5.0)
    text, image = _embeddings()
    assert torch.equal(constant(text, image)[0], _loss(5.0)(text, image)[0])


def test_without_a_least_temperature_the_scale_is_free() -> None:
    free = _loss(50.0, min_temperature=None)
    with torch.no_grad():
        free.log_scale.add_(5)
    free(*_embeddings())
    assert free.log_scale.exp().item() == pytest.approx(50 * math.exp(5), rel=1e-5)


def test_a_sum_is_the_mean_times_the_batch() -> None:
    text, image = _embeddings()
    mean, total = (_loss(5.0, reduction=r)(text, image)[0] for r in ("mean", "sum"))
    torch.testing.assert_close(total, 5 * mean)


def test_a_detached_gather_moves_only_the_side_that_asks() -> None:
    """Each direction of the loss then has a gradient for its queries alone: half of the whole."""
    text, image = (t.requires_grad_() for t in _embeddings())
    half = torch.autograd.grad(_loss(5.0, gather="detached")(text, image)[0], (text, image))
    to_images, to_messages = text @ image.detach().T * 5, image @ text.detach().T * 5
    own = torch.arange(5)
    asked = (cross_entropy(to_images, own) + cross_entropy(to_messages, own)) / 2
    for got, wanted in zip(half, torch.autograd.grad(asked, (text, image)), strict=True):
        torch.testing.assert_close(got, wanted)
