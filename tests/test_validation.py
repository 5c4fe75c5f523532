"""Fixed-pool accuracy and symbol usage."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pg_platform.training.validation import pool_accuracy, symbol_usage


def test_identical_embeddings_succeed_and_swapped_ones_fail() -> None:
    image = torch.eye(8)
    assert pool_accuracy(image, image, 4)["val/top1_pool4"] == 1.0
    swapped = image[[1, 0, 3, 2, 5, 4, 7, 6]]
    assert pool_accuracy(swapped, image, 4)["val/top1_pool4"] == 0.0


def test_the_two_directions_are_told_apart() -> None:
    """Both messages point at image 0, so one message finds its image; both images prefer 0."""
    text = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    image = torch.tensor([[1.0, 0.0], [0.0, 0.2]])
    metrics = pool_accuracy(text, image, 2)
    assert metrics["val/top1_pool2"] == 0.5
    assert metrics["val/reverse_top1_pool2"] == 1.0


def test_distractors_come_from_the_own_pool_only() -> None:
    image = torch.eye(2).repeat(2, 1)  # pools of 2: every image is there twice, in other pools
    assert pool_accuracy(image, image, 2)["val/top1_pool2"] == 1.0
    assert pool_accuracy(image, image, 4)["val/top1_pool4"] == 0.5


@given(pool=st.integers(2, 40), pools=st.integers(1, 3))
def test_one_message_for_everything_scores_exactly_chance(pool: int, pools: int) -> None:
    text = torch.ones(pool * pools, 3)
    metrics = pool_accuracy(text, text, pool)
    assert metrics[f"val/top1_pool{pool}"] == pytest.approx(1 / pool)
    assert metrics[f"val/top5_pool{pool}"] == pytest.approx(min(5, pool) / pool)


@given(st.integers(0, 2**31))
def test_accuracy_counts_what_a_loop_over_rows_counts(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    text, image = torch.randn(2, 12, 5, generator=generator)
    hits = 0
    for start in (0, 6):
        for row in range(start, start + 6):
            scores = [float(text[row] @ image[other]) for other in range(start, start + 6)]
            hits += sorted(scores)[-5] <= float(text[row] @ image[row])
    assert pool_accuracy(text, image, 6)["val/top5_pool6"] == pytest.approx(hits / 12)


def test_symbol_entropy_in_bits() -> None:
    usage = symbol_usage(torch.tensor([0, 0, 3, 3, 5, 5, 6, 6]), 8)
    assert usage == {"msg/active_symbols": 4.0, "msg/symbol_entropy_bits": 2.0}
    assert symbol_usage(torch.zeros(9, dtype=torch.long), 8)["msg/symbol_entropy_bits"] == 0.0
