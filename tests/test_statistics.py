"""Summaries over seeds, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pg_platform.results.statistics import Summary, overlap, summarise

values = st.floats(min_value=-1e6, max_value=1e6)


@given(st.lists(values, min_size=2, max_size=12))
def test_the_interval_is_students(results: list[float]) -> None:
    summary = summarise(results)
    assert summary.low is not None
    assert summary.high is not None
    assert summary.sd == pytest.approx(np.std(results, ddof=1), abs=1e-6)
    error = stats.sem(results)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(results) - 1, np.mean(results), error)
        assert summary.low == pytest.approx(low, rel=1e-9, abs=1e-6)
        assert summary.high == pytest.approx(high, rel=1e-9, abs=1e-6)


@given(st.lists(values, min_size=1, max_size=12))
def test_the_order_of_seeds_does_not_matter(results: list[float]) -> None:
    assert summarise(results) == summarise(sorted(results))


@given(st.lists(values, max_size=6), st.lists(st.sampled_from([math.nan, math.inf, -math.inf])))
def test_what_is_not_finite_is_left_out_and_counted(good: list[float], bad: list[float]) -> None:
    clean, mixed = summarise(good), summarise([*bad, *good])
    assert mixed.excluded == len(bad)
    assert (mixed.n, mixed.mean, mixed.low) == (clean.n, clean.mean, clean.low)


def test_equal_seeds_have_an_interval_of_no_width() -> None:
    assert summarise([0.25, 0.25, 0.25]) == Summary(3, 0.25, 0.0, 0.25, 0.25)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    assert summarise([0.5]) == Summary(n=1, mean=0.5)


def test_no_seed_has_nothing() -> None:
    assert summarise([math.nan]) == Summary(n=0, excluded=1)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0.1, 0.3), (0.2, 0.4), True),
        ((0.1, 0.3), (0.3, 0.4), True),
        ((0.1, 0.2), (0.3, 0.4), False),
        ((0.3, 0.4), (0.1, 0.2), False),
        ((0.1, 0.4), (0.2, 0.3), True),
    ],
)
def test_overlap(one: tuple[float, float], other: tuple[float, float], expected: bool) -> None:  # noqa: FBT001
    summaries = [Summary(2, low, 0.0, low, high) for low, high in (one, other)]
    assert overlap(*summaries) is expected


def test_without_an_interval_overlap_is_unknown() -> None:
    assert overlap(Summary(1, 0.5), Summary(2, 0.5, 0.1, 0.4, 0.6)) is None
    assert overlap(Summary(2, 0.5, 0.1, 0.4, 0.6), Summary(0)) is None
