"""Which points a sweep gives up, and that no single seed decides it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_platform.driver.early_stopping import Decisions, EarlyStopping
from pg_platform.sweep.schema import EarlyTerminate

ASHA = EarlyTerminate(type="asha", min_epochs=1, reduction_factor=3, min_points=3)


def judge(
    rule: EarlyTerminate, points: Sequence[str], seeds: int, epochs: int = 27
) -> EarlyStopping:
    made = EarlyStopping(rule, maximize=True, epochs=epochs)
    for point in points:
        made.add(point, range(seeds))
    return made


def reach(court: EarlyStopping, point: str, epoch: int, values: Sequence[float]) -> None:
    """All seeds of a point come to a rung."""
    for seed, value in enumerate(values):
        court.note(point, seed, epoch, value)
        court.arrive(point, seed, epoch)


@pytest.mark.parametrize(
    ("kind", "epochs", "rungs"),
    [
        ("asha", 27, [1, 3, 9]),
        ("asha", 28, [1, 3, 9, 27]),
        ("median", 4, [1, 2, 3]),
        ("none", 9, []),
    ],
)
def test_rungs(kind: str, epochs: int, rungs: list[int]) -> None:
    rule = EarlyTerminate.model_validate({"type": kind})
    court, found, at = judge(rule, ["a"], 1, epochs), [], 0
    while (rung := court.next_rung("a", at)) is not None:
        found.append(rung)
        at = rung
    assert found == rungs


def test_brackets_of_hyperband_start_at_different_rungs() -> None:
    rule = EarlyTerminate(type="hyperband", min_epochs=1, reduction_factor=3)
    court = judge(rule, ["a", "b", "c", "d"], 1, epochs=27)
    assert [court.next_rung(point, 0) for point in "abcd"] == [1, 3, 9, 1]


def test_nothing_is_decided_before_all_seeds_of_enough_points_have_come() -> None:
    court = judge(ASHA, "abc", seeds=2)
    reach(court, "a", 1, [0.9, 0.9])
    reach(court, "b", 1, [0.5, 0.5])
    court.note("c", 0, 1, 0.1)
    court.arrive("c", 0, 1)
    assert court.decide(idle=False) == Decisions()
    court.note("c", 1, 1, 0.1)
    court.arrive("c", 1, 1)
    assert court.decide(idle=False) == Decisions(promoted=("a",))


def test_a_lucky_seed_saves_no_point_and_an_unlucky_one_ends_none() -> None:
    court = judge(ASHA, "abc", seeds=3)
    reach(court, "a", 1, [1.0, 0.0, 0.0])
    reach(court, "b", 1, [0.0, 0.8, 0.8])
    reach(court, "c", 1, [0.4, 0.4, 0.4])
    assert court.decide(idle=False).promoted == ("b",)
    assert set(court.decide(idle=True).stopped) == {"a", "c"}


def test_a_seed_that_failed_is_not_waited_for() -> None:
    court = judge(ASHA, "abc", seeds=2)
    reach(court, "a", 1, [0.9])
    reach(court, "b", 1, [0.5, 0.5])
    reach(court, "c", 1, [0.4, 0.4])
    assert court.decide(idle=False) == Decisions()
    court.leave("a", 1)
    assert court.decide(idle=False).promoted == ("a",)


def test_a_mean_that_is_no_number_stops_a_point() -> None:
    court = judge(ASHA, "ab", seeds=2)
    reach(court, "a", 1, [0.9, math.nan])
    assert court.decide(idle=False).stopped == ("a",)


def test_less_is_better_where_the_goal_says_so() -> None:
    court = EarlyStopping(ASHA, maximize=False, epochs=9)
    for point, loss in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        court.add(point, [0])
        reach(court, point, 1, [loss])
    assert court.decide(idle=False).promoted == ("b",)


def test_median_stops_a_point_below_the_others() -> None:
    rule = EarlyTerminate(type="median", min_epochs=1, min_points=3)
    court = judge(rule, "abc", seeds=1, epochs=9)
    reach(court, "a", 1, [0.9])
    assert court.decide(idle=True).promoted == ("a",)
    reach(court, "b", 1, [0.7])
    assert court.decide(idle=True).promoted == ("b",)
    reach(court, "c", 1, [0.1])
    assert court.decide(idle=False) == Decisions(stopped=("c",))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefghij"),
        st.lists(st.floats(0, 1), min_size=2, max_size=2),
        min_size=2,
    ),
    st.randoms(use_true_random=False),
)
def test_whatever_the_order_the_sweep_ends_and_keeps_the_best(
    skill: Mapping[str, list[float]], order: st.DataObject
) -> None:
    """Points whose seeds keep their values at all rungs; trials come in any order."""
    court = judge(ASHA, list(skill), seeds=2)
    at = {(point, seed): 0 for point in skill for seed in range(2)}
    moving, done, stopped = set(at), set[str](), set[str]()
    while moving or len(done | stopped) < len(skill):
        if moving:
            point, seed = order.choice(sorted(moving))  # type: ignore[attr-defined]
            moving.remove((point, seed))
            rung = court.next_rung(point, at[point, seed])
            if rung is None:
                done.add(point)
                continue
            at[point, seed] = rung
            court.note(point, seed, rung, skill[point][seed])
            court.arrive(point, seed, rung)
        decisions = court.decide(idle=not moving)
        assert moving or decisions != Decisions(), "a point waits for ever"
        stopped |= set(decisions.stopped)
        moving |= {(point, seed) for point in decisions.promoted for seed in range(2)}
    assert not done & stopped
    best = max(statistics.fmean(values) for values in skill.values())
    assert max(statistics.fmean(skill[point]) for point in done) == best
