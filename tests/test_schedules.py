"""The learning rate over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_platform.config.experiment import AdamW
from pg_platform.training.optimizer import learning_rate, weight_decay


def curve(optimizer: AdamW, steps: int, batch_size: int = 256) -> list[float]:
    return [learning_rate(optimizer, batch_size, step, steps) for step in range(steps)]


@given(steps=st.integers(2, 300), warmup=st.floats(0, 1), low=st.floats(0, 1e-3))
def test_rises_linearly_then_falls_to_the_minimum(steps: int, warmup: float, low: float) -> None:
    rates = curve(AdamW(lr=1e-2, warmup_fraction=warmup, min_lr=low), steps)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(1e-2)
    assert all(low <= rate for rate in rates[top:])


def test_halfway_down_the_cosine_is_half_of_the_way() -> None:
    rates = curve(AdamW(lr=1.0, warmup_fraction=0.0, min_lr=0.2), 100)
    assert rates[0] == pytest.approx(1.0)
    assert rates[50] == pytest.approx(0.6)
    assert rates[99] == pytest.approx(0.2, abs=1e-3)


def test_scales_with_the_batch_only_where_a_reference_is_given() -> None:
    scaled = AdamW(lr=1e-3, lr_batch_size=256, warmup_fraction=0.0)
    fixed = AdamW(lr=1e-3, lr_batch_size=None, warmup_fraction=0.0)
    assert learning_rate(scaled, 512, 0, 10) == pytest.approx(2e-3)
    assert learning_rate(fixed, 512, 0, 10) == pytest.approx(1e-3)


def test_the_weight_decay_stays_unless_an_end_is_given() -> None:
    assert weight_decay(AdamW(weight_decay=0.1), 7, 10) == 0.1
    rising = AdamW(weight_decay=0.04, weight_decay_end=0.4)
    assert weight_decay(rising, 0, 100) == pytest.approx(0.04)
    assert weight_decay(rising, 50, 100) == pytest.approx(0.22)
    assert weight_decay(rising, 99, 100) == pytest.approx(0.4, abs=1e-3)
