"""The contrastive loss of one worker; several are in test_two_workers.py."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pg_platform.game.loss import ContrastiveLoss


def _embeddings(rows: int = 5, width: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    text, image = normalize(torch.randn(2, rows, width, generator=generator), dim=2)
    return text, image


def test_loss_is_eq_1_to_3_as_a_mean() -> None:
    text, image = _embeddings()
    loss = ContrastiveLoss(2.0, 100.0)(text, image)[0].item()
    score = (2.0 * text @ image.T).exp().tolist()
    of_text = -sum(math.log(score[j][j] / sum(score[j])) for j in range(5)) / 5
    of_images = -sum(math.log(score[k][k] / sum(row[k] for row in score)) for k in range(5)) / 5
    assert loss == pytest.approx((of_text + of_images) / 2)


def test_top1_counts_messages_that_find_their_image() -> None:
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    _, top1 = ContrastiveLoss(10.0, 100.0)(text, image)  # 0 finds 0, 1 finds 2, 2 finds 1
    assert float(top1) == pytest.approx(1 / 3)
    assert float(ContrastiveLoss(10.0, 100.0)(image, text)[1]) == pytest.approx(1 / 3)
    _, all_found = ContrastiveLoss(10.0, 100.0)(text, text)
    assert float(all_found) == 1.0


def test_the_scale_is_learned_and_held_below_its_bound() -> None:
    text, image = _embeddings()
    held = ContrastiveLoss(50.0, 100.0)
    with torch.no_grad():
        held.log_scale.add_(5)
    loss, _ = held(text, image)
    loss.backward()
    assert loss.item() == pytest.approx(ContrastiveLoss(100.0, 100.0)(text, image)[0].item())
    assert held.log_scale.exp().item() == pytest.approx(100.0)
    assert held.log_scale.grad is not None
    assert held.log_scale.grad > 0  # random pairs: the loss would fall with a smaller scale


def test_under_autocast_the_loss_stays_in_float32() -> None:
    text, image = _embeddings()
    loss = ContrastiveLoss(14.0, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = loss(text, image)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, loss(text, image)[0])
