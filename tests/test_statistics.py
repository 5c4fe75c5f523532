"""Summaries over seeds and paired differences, against scipy and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pg_platform.report.statistics import Paired, Summary, holm, paired, summarise

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


@pytest.mark.parametrize("n", [3, 5])
def test_95_of_100_intervals_hold_the_mean(n: int) -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.05, size=(20_000, n))
    summaries = [summarise(seeds) for seeds in draws.tolist()]
    held = [s.low <= 0.3 <= s.high for s in summaries if s.low is not None and s.high is not None]
    assert len(held) == 20_000
    assert 0.94 < np.mean(held) < 0.96


def by_seed(values: list[float]) -> dict[int, float]:
    """One value per seed."""
    return dict(enumerate(values))


@given(st.lists(st.tuples(st.integers(-999, 999), st.integers(-999, 999)), min_size=3, max_size=9))
def test_paired_is_the_paired_t_test(pairs: list[tuple[int, int]]) -> None:
    one, other = ([pair[side] / 8 for pair in pairs] for side in (0, 1))
    differences = [a - b for a, b in zip(one, other, strict=True)]
    found = paired(by_seed(differences))
    assert found.n == len(pairs)
    assert found.mean == pytest.approx(np.mean(differences), rel=1e-12, abs=1e-12)
    if len(set(differences)) > 1:
        expected = stats.ttest_rel(one, other)
        low, high = expected.confidence_interval(0.95)
        assert found.p == pytest.approx(expected.pvalue, rel=0, abs=1e-12)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


@given(values, st.integers(3, 6))
def test_equal_differences_have_no_spread_to_be_tested_by(value: float, n: int) -> None:
    found = paired(by_seed([value] * n))
    assert found == Paired(n, found.mean, p=None if value else 1.0)
    assert found.mean == pytest.approx(value)


@given(st.integers(3, 9), st.floats(-1, 1), st.floats(0.001, 0.1))
def test_what_chance_leaves_is_the_least_spread(n: int, value: float, left: float) -> None:
    found = paired(by_seed([value] * n), least_variance=left**2)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, n - 1) * left / n**0.5)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(value) / left * n**0.5, n - 1))


def test_fewer_than_three_seeds_have_no_interval_and_no_p() -> None:
    assert paired({}) == Paired(0)
    assert paired({7: 0.5}) == Paired(1, 0.5)
    assert paired({7: 0.5, 8: 0.25}) == Paired(2, 0.375)


p_values = st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.04, 0.3, 1.0]), max_size=6) | (
    st.lists(st.floats(0, 1), max_size=6)
)


@given(p_values)
def test_holm_is_the_closure_of_bonferroni(given_p: list[float]) -> None:
    """A p is corrected to the largest Bonferroni p of any subset that it is in."""
    indices = range(len(given_p))
    subsets = [s for n in indices for s in itertools.combinations(indices, n + 1)]
    expected = [
        max(min(1.0, len(s) * min(given_p[j] for j in s)) for s in subsets if i in s)
        for i in indices
    ]
    assert holm(given_p) == pytest.approx(expected)


@given(p_values)
def test_holm_keeps_the_order_and_never_lowers(given_p: list[float]) -> None:
    corrected = holm(given_p)
    pairs = list(zip(given_p, corrected, strict=True))
    assert all(p > q or after_p <= after_q for p, after_p in pairs for q, after_q in pairs)
    assert all(p <= after <= 1 for p, after in pairs)
