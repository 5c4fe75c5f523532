"""What runs next in a sweep, and when nothing more does: on a real store, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pg_platform.driver.scheduler import Segment, Waiting
from pg_platform.store.runs import TrialRuns
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import OUT_OF_MEMORY, Outcome
from tests.results import ACCURACY, rows, vocabularies
from tests.scheduling import EPOCHS, Clock, Searched, finish, scheduler, started


def test_all_trials_run_in_order_and_then_nothing(runs: TrialRuns) -> None:
    trials = vocabularies([2, 64], seeds=2)
    made = scheduler(runs, trials)
    first = [started(made) for _ in trials]
    assert [segment.trial for segment in first] == trials
    assert made.next() is Waiting.FOR_OTHERS
    for segment in first:
        assert segment.until is None
        finish(made, segment.trial)
    assert made.next() is Waiting.FOR_NOTHING
    assert made.record.verdict.finished == {trial.id for trial in trials}


def test_no_more_run_at_a_time_than_the_file_wants(runs: TrialRuns) -> None:
    made = scheduler(runs, vocabularies([2, 64], seeds=1), resources={"max_concurrent": 1})
    first = started(made)
    assert made.next() is Waiting.FOR_OTHERS
    finish(made, first.trial)
    assert started(made).trial is not first.trial


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        ({"trials": 1}, 1),
        ({"wall_clock": "10s"}, 10),
        ({"cpu_hours": 1.0}, 1800),  # two CPUs a trial
        ({"gpu_hours": 0.5}, 3600),  # half a GPU a trial
        ({"usd": 3.0, "usd_per_gpu_hour": 6.0}, 3600),
    ],
)
def test_a_budget_that_is_used_up_starts_nothing_more(
    runs: TrialRuns, budget: Mapping[str, Any], seconds: float
) -> None:
    clock, resources = Clock(), {"cpus_per_worker": 2, "gpus_per_worker": 0.5}
    trials = vocabularies([2, 64], seeds=1)
    made = scheduler(runs, trials, clock, budget=budget, resources=resources)
    first = started(made)
    clock.now = seconds - 0.5
    if "trials" not in budget:
        clock.now = seconds * 0.99
        second = started(made)
        clock.now = seconds
        finish(made, second.trial)
    finish(made, first.trial)
    made.add(vocabularies([128], seeds=1))
    clock.now = seconds
    assert made.next() is Waiting.FOR_NOTHING
    made.abandon()
    (name,) = (key for key in budget if key != "usd_per_gpu_hour")
    assert f"budget.{name}" in (made.record.verdict.over_budget or "")
    assert "V=128_seed=0" in made.record.verdict.not_started


def test_the_last_trial_spends_what_is_left_without_a_word(runs: TrialRuns) -> None:
    made = scheduler(runs, vocabularies([2], seeds=1), budget={"trials": 1})
    finish(made, started(made).trial)
    assert made.next() is Waiting.FOR_NOTHING
    assert made.record.verdict.over_budget is None


@pytest.mark.parametrize(
    ("words", "errors", "tried"),
    [
        ({"equal_failures": 2}, ["ValueError: at 7", "ValueError: at 8"], 2),
        ({"equal_failures": 2}, ["ValueError: a", "ValueError: b", "ValueError: a"], 3),
        ({"max_failed_trials": 2, "equal_failures": 9}, ["x", "y"], 2),
    ],
)
def test_enough_failures_start_nothing_more(
    runs: TrialRuns, words: Mapping[str, Any], errors: Sequence[str], tried: int
) -> None:
    made = scheduler(runs, vocabularies([2, 4, 8, 16, 32], seeds=1), **words)
    for error in errors:
        made.fail(started(made).trial, f"{error}\nTraceback\n")
    assert made.next() is Waiting.FOR_NOTHING
    assert len(made.record.verdict.failed) == tried
    assert made.closed is not None


def test_a_point_without_memory_takes_its_seeds_with_it(runs: TrialRuns) -> None:
    trials = vocabularies([2, 64], seeds=3)
    made = scheduler(runs, trials)
    made.fail(started(made).trial, f"{OUT_OF_MEMORY}: 9 GB")
    assert made.record.verdict.infeasible.keys() == {t.id for t in trials if t.group == "V=2"}
    assert started(made).trial.group == "V=64"
    stored = runs.store.look(runs.ids[trials[1].id])
    assert (stored.status, stored.tags["pg.stop_reason"]) == ("FAILED", "infeasible")


def test_a_trial_without_memory_goes_on_in_halves_with_the_same_id(runs: TrialRuns) -> None:
    (trial,) = vocabularies([2], seeds=1)
    fitting = trial.experiment.model_copy(update={"batch_norm_images": 128})
    made = scheduler(runs, [], on_oom="micro_batch")
    made.add([Trial(**{**trial.__dict__, "experiment": fitting})])
    sizes = []
    for _ in range(2):
        segment = started(made)
        sizes.append(segment.resources.micro_batch)
        made.fail(segment.trial, OUT_OF_MEMORY)
    last = started(made)
    sizes.append(last.experiment.resources.micro_batch)
    assert sizes == [None, fitting.batch_size // 2, fitting.batch_size // 4]
    assert last.trial.id == trial.id
    assert not made.record.verdict.infeasible


def test_a_trial_that_says_nothing_for_long_is_named_once(runs: TrialRuns) -> None:
    clock = Clock()
    made = scheduler(runs, vocabularies([2, 64], seeds=1), clock, stall_after="60s")
    quiet, talking = started(made).trial, started(made).trial
    clock.now = 59.0
    made.rows(talking, rows(ACCURACY.name, [0.1]))
    clock.now = 61.0
    assert made.hung() == [quiet]
    assert made.hung() == []


def test_a_trial_left_out_does_not_start(runs: TrialRuns) -> None:
    trials = vocabularies([2, 64], seeds=1)
    made = scheduler(runs, trials)
    running = started(made).trial
    assert made.leave_out(running.id, "killed")
    assert not made.leave_out(trials[1].id, "killed")
    made.end(running, Outcome.INTERRUPTED)
    assert made.next() is Waiting.FOR_NOTHING
    assert runs.store.look(runs.ids[running.id]).tags["pg.stop_reason"] == "killed"


def test_points_pause_and_the_best_goes_on(runs: TrialRuns) -> None:
    early = {"type": "asha", "min_epochs": 1, "reduction_factor": 3}
    trials = vocabularies([2, 8, 64], seeds=2)
    made = scheduler(runs, trials, early_terminate=early)
    for trial, value in zip(trials, [0.1, 0.2, 0.3, 0.3, 0.9, 0.0], strict=True):
        segment = started(made)
        assert (segment.trial, segment.until) == (trial, 1)
        made.rows(trial, rows(ACCURACY.name, [value]))
        made.end(trial, Outcome.PAUSED)
    on = [started(made) for _ in range(2)]
    assert {(segment.trial.group, segment.until) for segment in on} == {("V=64", 3)}
    assert made.next() is Waiting.FOR_OTHERS
    rest = {trial.id for trial in trials if trial.group != "V=64"}
    assert made.record.verdict.pruned == rest


def test_a_search_is_asked_when_nothing_is_left_and_told_once_a_point(runs: TrialRuns) -> None:
    one, other = vocabularies([2], seeds=2), vocabularies([64], seeds=2)
    search = Searched([one, other])
    made = scheduler(runs, [], search=search)
    first = [started(made).trial for _ in one]
    assert first == one
    finish(made, first[0], 0.2)
    assert search.told == {}
    finish(made, first[1], 0.4)
    assert search.told == {"V=2": ([0.2, 0.4], False)}
    made.fail(started(made).trial, "ValueError: a")
    finish(made, started(made).trial, 0.6)
    assert search.told["V=64"] == ([0.6], False)
    assert made.next() is Waiting.FOR_NOTHING


def test_a_seed_that_was_killed_does_not_hold_its_point(runs: TrialRuns) -> None:
    """One seed is killed in the queue, one at a rung: the others are judged without them."""
    early = {"type": "asha", "min_epochs": 1, "reduction_factor": 3, "min_points": 2}
    trials = vocabularies([2, 8, 64], seeds=2)
    made = scheduler(runs, trials, early_terminate=early)
    assert not made.leave_out(trials[1].id, "killed")
    for value in (0.9, 0.2, 0.2, 0.1, 0.1):
        segment = started(made)
        made.rows(segment.trial, rows(ACCURACY.name, [value]))
        made.end(segment.trial, Outcome.PAUSED)
    assert not made.leave_out(trials[2].id, "killed")
    assert runs.store.look(runs.ids[trials[2].id]).tags["pg.stop_reason"] == "killed"
    assert started(made).trial is trials[0]
    assert made.record.verdict.pruned == {trial.id for trial in trials[3:]}


def test_a_search_learns_what_was_given_up_before_it_chooses_again(runs: TrialRuns) -> None:
    values = {2: 0.5, 8: 0.1, 32: 0.4, 64: 0.9}
    search = Searched([vocabularies([size], seeds=1) for size in values])
    made = scheduler(runs, [], search=search, early_terminate=ASHA)
    left_when_told: dict[str, int] = {}
    while isinstance(segment := made.next(), Segment):
        for group in search.told.keys() - left_when_told.keys():
            left_when_told[group] = len(search.points)
        made.begin(segment.trial)
        (size,) = segment.trial.point.values()
        value = values[size]
        epoch = segment.until or EPOCHS
        made.rows(segment.trial, rows(ACCURACY.name, [value] * epoch))
        paused = segment.until is not None
        made.end(segment.trial, Outcome.PAUSED if paused else Outcome.COMPLETED)
    assert search.told["V=8"] == ([0.1], True)
    assert search.told["V=64"] == ([0.9], False)
    assert left_when_told["V=8"] == 1


def test_a_search_is_told_of_a_point_whose_last_seed_was_killed(runs: TrialRuns) -> None:
    search = Searched([vocabularies([2], seeds=2)])
    made = scheduler(runs, [], search=search)
    first, second = (started(made).trial for _ in range(2))
    finish(made, first, 0.2)
    assert made.leave_out(second.id, "killed")
    made.end(second, Outcome.INTERRUPTED)
    assert search.told == {"V=2": ([0.2], False)}


def test_a_point_without_memory_takes_along_its_seeds_at_a_rung(runs: TrialRuns) -> None:
    early = {"type": "asha", "min_epochs": 1, "reduction_factor": 3}
    trials = vocabularies([2], seeds=2)
    made = scheduler(runs, trials, early_terminate=early)
    first = started(made).trial
    made.rows(first, rows(ACCURACY.name, [0.5]))
    made.end(first, Outcome.PAUSED)
    made.fail(started(made).trial, OUT_OF_MEMORY)
    assert made.record.verdict.infeasible.keys() == {trial.id for trial in trials}


ASHA = {"type": "asha", "min_epochs": 1, "reduction_factor": 3}


def test_a_trial_that_was_killed_on_its_way_to_a_rung_goes_no_further(runs: TrialRuns) -> None:
    """It comes to the rung before it hears of it; the best point, it would have been promoted."""
    search = Searched([vocabularies([2], seeds=1)])
    made = scheduler(runs, [], search=search, early_terminate=ASHA)
    trial = started(made).trial
    assert made.leave_out(trial.id, "killed")
    made.rows(trial, rows(ACCURACY.name, [0.9]))
    made.end(trial, Outcome.PAUSED)
    assert made.next() is Waiting.FOR_NOTHING
    assert runs.store.look(runs.ids[trial.id]).tags["pg.stop_reason"] == "killed"
    assert search.told == {"V=2": ([], False)}


def test_a_trial_that_was_killed_does_not_go_on_in_halves(runs: TrialRuns) -> None:
    (trial,) = vocabularies([2], seeds=1)
    fitting = trial.experiment.model_copy(update={"batch_norm_images": 128})
    made = scheduler(runs, [replace(trial, experiment=fitting)], on_oom="micro_batch")
    trial = started(made).trial
    assert made.leave_out(trial.id, "killed")
    made.fail(trial, OUT_OF_MEMORY)
    assert made.next() is Waiting.FOR_NOTHING
    assert made.record.verdict.interrupted == {trial.id}


def test_a_trial_between_two_segments_is_interrupted_and_not_unstarted(runs: TrialRuns) -> None:
    trials = vocabularies([2], seeds=2)
    made = scheduler(runs, trials, early_terminate=ASHA, resources={"max_concurrent": 1})
    for trial in trials:
        started(made)
        made.rows(trial, rows(ACCURACY.name, [0.5]))
        made.end(trial, Outcome.PAUSED)
    on, other = started(made).trial, *[t for t in trials if t.id not in made.running]
    finish(made, on)
    made.close("asked to stop")
    assert made.next() is Waiting.FOR_NOTHING
    made.abandon()
    assert (made.record.verdict.interrupted, made.record.verdict.not_started) == ({other.id}, set())
    assert runs.store.look(runs.ids[other.id]).tags["pg.stop_reason"] == "asked to stop"


def test_a_segment_that_waits_for_a_place_spends_nothing_and_is_not_hung(runs: TrialRuns) -> None:
    clock, trials = Clock(), vocabularies([2, 4, 8, 16, 32], seeds=1)
    made = scheduler(runs, trials, clock, stall_after="60s", budget={"cpu_hours": 1.0})
    for trial in trials[:2]:
        segment = made.next()
        assert isinstance(segment, Segment)
        assert segment.trial is trial
    made.begin(trials[0])
    clock.now = 1900.0
    assert made.hung() == [trials[0]]
    assert isinstance(made.next(), Segment)  # 1900 s of one trial are spent, not 3800 s
    made.begin(trials[1])
    clock.now = 2700.0
    assert isinstance(made.next(), Segment)  # 3500 s
    clock.now = 2751.0
    assert made.next() is Waiting.FOR_OTHERS
    made.abandon()
    assert made.record.verdict.interrupted == {trials[0].id, trials[1].id}
    assert made.record.verdict.not_started == {trial.id for trial in trials[2:]}


@pytest.mark.parametrize(
    ("measure", "told"), [("", 0.7), (":area", 0.5), (":epochs_to:0.5", 2.0), (":epochs_to:0.6", 3)]
)
def test_a_search_is_told_of_what_the_sweep_measures(
    runs: TrialRuns, measure: str, told: float
) -> None:
    search = Searched([vocabularies([2], seeds=1)])
    metric = {"name": ACCURACY.name + measure, "goal": "maximize"}
    made = scheduler(runs, [], search=search, metric=metric)
    trial = started(made).trial
    made.rows(trial, rows(ACCURACY.name, [0.3, 0.5]))
    made.rows(trial, rows(ACCURACY.name, [0.3, 0.5, 0.7])[1:])  # again from the last checkpoint
    made.end(trial, Outcome.COMPLETED)
    ((value,), pruned) = search.told["V=2"]
    assert value == pytest.approx(told)
    assert not pruned
