"""Measures derived from a run's history."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_platform.config.metrics import base, measure

NAME = "val/top1_pool512"
values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def history(results: list[float]) -> list[tuple[int, float]]:
    """One value an epoch, from epoch 1."""
    return list(enumerate(results, start=1))


@given(values, st.floats(0, 1))
def test_epochs_to_is_the_first_epoch_at_the_threshold(results: list[float], x: float) -> None:
    found = measure(history(results), f"{NAME}:epochs_to:{x}")
    if math.isnan(found):
        assert max(results) < x
    else:
        assert results[int(found) - 1] >= x
        assert all(value < x for value in results[: int(found) - 1])


@given(values, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_is_not_reached_earlier(
    results: list[float], one: float, other: float
) -> None:
    low, high = (measure(history(results), f"{NAME}:epochs_to:{x}") for x in sorted((one, other)))
    assert math.isnan(high) or low <= high


@given(values)
def test_the_area_is_the_mean_over_the_epochs(results: list[float]) -> None:
    found = measure(history(results), f"{NAME}:area")
    assert found == pytest.approx(sum(results) / len(results))
    assert found == measure(history(sorted(results)), f"{NAME}:area")


@given(values)
def test_a_plain_name_is_the_last_value(results: list[float]) -> None:
    assert measure(history(results), NAME) == results[-1]


@pytest.mark.parametrize("name", [NAME, f"{NAME}:area", f"{NAME}:epochs_to:0.5"])
def test_without_a_history_there_is_no_number(name: str) -> None:
    assert base(name) == NAME
    assert math.isnan(measure([], name))


def test_an_epoch_that_is_no_number_spoils_the_area_and_reaches_nothing() -> None:
    broken = history([0.1, math.nan, 0.9])
    assert math.isnan(measure(broken, f"{NAME}:area"))
    assert measure(broken, f"{NAME}:epochs_to:0.5") == 3


@pytest.mark.parametrize("kind", ["epochs_to:half", "epochs_to:nan", "epochs_to", "median", ""])
def test_an_unknown_measure_is_named(kind: str) -> None:
    with pytest.raises(ValueError, match=f"{NAME}:{kind}'"):
        measure(history([0.1]), f"{NAME}:{kind}")
