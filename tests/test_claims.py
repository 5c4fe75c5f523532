"""Verdicts on claims, and the importance of parameters."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_platform.report.importance import importances, unknown_because
from pg_platform.report.paper_claims import Result, verdict
from pg_platform.sweep.schema import Claim
from tests.swept import swept

V, L = "speaker.vocab_size", "speaker.symbols_per_patch"
OPPOSITE = {"supported": "contradicted", "contradicted": "supported"}


def claim(direction: Literal["increases", "decreases", "peak"] = "increases") -> Claim:
    """A claim on the vocabulary."""
    return Claim(says="More words help.", parameter=V, direction=direction)


def noisy(slope: float, noise: float, seeds: int, source: int = 0) -> list[Result]:
    """Results that rise by `slope` with the rank of V, at two values of l."""
    draw = np.random.default_rng(source)
    return [
        ({V: value, L: other}, seed, slope * rank + 10 * other + float(draw.normal(0, noise)))
        for seed in range(seeds)
        for rank, value in enumerate([2, 64, 1024])
        for other in [1, 4]
    ]


def test_the_slope_is_one_rank_wide_and_blind_to_the_others() -> None:
    found = verdict(claim(), noisy(0.25, 1e-6, seeds=3))
    assert found.slope == pytest.approx(0.25, abs=1e-5)
    assert (found.word, found.n) == ("supported", 3)


def test_an_effect_below_the_noise_is_not_distinguishable() -> None:
    found = verdict(claim(), noisy(0.0, 1.0, seeds=5))
    assert found.word == "not distinguishable"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_noise_alone_is_called_an_effect_in_one_case_of_twenty() -> None:
    words = [verdict(claim(), noisy(0.0, 1.0, 4, source)).word for source in range(400)]
    assert 0.02 < 1 - words.count("not distinguishable") / len(words) < 0.09


def hill(top: int, noise: float, seeds: int, source: int = 0) -> list[Result]:
    """Results that fall by .1 for each rank of V away from that of `top`; at two values of l."""
    draw = np.random.default_rng(source)
    return [
        ({V: 2**rank, L: other}, seed, -0.1 * abs(rank - top) + float(draw.normal(0, noise)))
        for seed in range(seeds)
        for rank in range(5)
        for other in [1, 4]
    ]


@pytest.mark.parametrize(
    ("top", "word"), [(2, "supported"), (0, "contradicted"), (4, "contradicted")]
)
def test_a_peak_lies_inside_the_range(top: int, word: str) -> None:
    found = verdict(claim("peak"), hill(top, 0.01, seeds=5))
    assert found.word == word
    assert found.peak == 2 ** min(max(top, 1), 3)
    assert found.slope == pytest.approx({2: 0.2, 0: -0.1, 4: -0.1}[top], abs=0.03)


def test_noise_alone_has_no_peak() -> None:
    """Both ends have to be below it, so far fewer than one in twenty are called one."""
    draws = [
        [(point, seed, value + 0.1 * abs(int(math.log2(point[V])) - 2)) for point, seed, value in d]
        for d in (hill(2, 1.0, 4, source) for source in range(300))
    ]
    words = [verdict(claim("peak"), draw).word for draw in draws]
    assert words.count("supported") <= 9


def test_a_peak_wants_three_values() -> None:
    results = [r for r in hill(2, 0.01, seeds=5) if r[0][V] in (1, 4)]
    found = verdict(claim("peak"), results)
    assert (found.word, found.slope) == ("not distinguishable", None)
    assert "three values" in found.reason


def test_one_seed_has_no_interval_and_says_so() -> None:
    found = verdict(claim(), noisy(0.5, 0, seeds=1))
    assert (found.word, found.n, found.low) == ("not distinguishable", 1, None)
    assert "one seed" in found.reason


def test_without_two_values_there_is_no_slope() -> None:
    for values in ([], [({V: 2}, 0, 0.1), ({V: 2}, 1, 0.2)], [({V: 2}, 0, 0.1), ({L: 1}, 0, 0.2)]):
        found = verdict(claim(), values)
        assert (found.word, found.slope, found.n) == ("not distinguishable", None, 0)
        assert V in found.reason


def test_a_result_that_is_no_number_does_not_count() -> None:
    whole = noisy(0.25, 0.01, seeds=3)
    assert verdict(claim(), [*whole, ({V: 8, L: 1}, 0, math.nan)]) == verdict(claim(), whole)


def test_words_have_no_order() -> None:
    with pytest.raises(ValueError, match="wants values that are numbers, got 'many'"):
        verdict(claim(), [({V: "many"}, 0, 0.5)])


@given(
    st.lists(st.tuples(st.sampled_from([1, 8, 64]), st.integers(0, 3), st.floats(-5, 5))),
)
def test_the_flip_of_the_sign_flips_the_word(spots: list[tuple[int, int, float]]) -> None:
    results: list[Result] = [({V: value}, seed, result) for value, seed, result in spots]
    flipped: list[Result] = [(point, seed, -result) for point, seed, result in results]
    word = verdict(claim(), results).word
    assert verdict(claim(), flipped).word == OPPOSITE.get(word, word)
    assert verdict(claim("decreases"), results).word == OPPOSITE.get(word, word)


@given(st.permutations(noisy(0.1, 0.1, seeds=3)), st.floats(-3, 3))
def test_order_and_level_do_not_matter(results: list[Result], level: float) -> None:
    found, plain = verdict(claim(), results), verdict(claim(), noisy(0.1, 0.1, seeds=3))
    raised = verdict(claim(), [(point, seed, value + level) for point, seed, value in results])
    assert found.word == raised.word == plain.word
    assert found.slope == pytest.approx(plain.slope)
    assert raised.slope == pytest.approx(plain.slope)


def test_the_parameter_that_decides_is_the_most_important() -> None:
    shares = importances(swept({V: [2, 64, 1024], L: [1, 2, 4]}, lambda p: [p[L] + p[V] / 1e5]))
    assert list(shares) == [L, V]
    assert shares[L] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


def test_a_number_that_never_comes_twice_is_weighed_by_its_logarithm() -> None:
    rates = [10.0**-at for at in range(8)]
    shares = importances(
        swept({"optimizer.lr": rates, L: [1]}, lambda p: [1 + math.log10(p["optimizer.lr"]) / 8])
    )
    assert shares == {"optimizer.lr": pytest.approx(1)}


def test_importances_come_out_the_same_again_and_leave_the_log_alone() -> None:
    comparison = swept({V: [2, 64], L: [1, 2, 4], "speaker.kind": ["a", "b"]}, lambda p: [p[V] % 7])
    before = optuna.logging.get_verbosity()
    assert importances(comparison) == importances(comparison)
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("vocabularies", "result", "reason"),
    [
        ([2, 4, 8], 1.0, "4 points"),
        ([2, 2, 2, 2], 1.0, "two values"),
        ([2, 4, 8, 16], 0.0, "same mean"),
    ],
)
def test_too_little_for_importances(vocabularies: list[int], result: float, reason: str) -> None:
    comparison = swept({V: vocabularies}, lambda p: [result * p[V]])
    assert importances(comparison) == {}
    assert reason in str(unknown_because(comparison))
