"""What a sweep will take: from runs of a shape, never from a guess."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pg_platform.config.experiment import Experiment
from pg_platform.data.identity import identity
from pg_platform.data.sizes import split_sizes
from pg_platform.driver.control import Control
from pg_platform.driver.driver import run_train
from pg_platform.driver.dry_run import DryRun
from pg_platform.driver.early_stopping import EarlyStopping
from pg_platform.driver.forecast import (
    Forecast,
    Interval,
    clock,
    cost_of,
    makespan,
    predicted,
    slots_on,
    wall,
)
from pg_platform.driver.live_table import LiveTable
from pg_platform.driver.local import LocalExecutor
from pg_platform.driver.scheduler import Scheduler
from pg_platform.driver.speeds import Pace, calibrations, keep_calibration
from pg_platform.driver.trial_events import TrialEvents
from pg_platform.store.runs import TrialRuns
from pg_platform.store.store import Store
from pg_platform.sweep.schema import SweepFile
from pg_platform.sweep.trials import Trial, shape, single, trial_folder
from pg_platform.training.calibrate import calibrate
from tests.results import ACCURACY, stored, vocabularies
from tests.small import SMALL, merged

DURATIONS = st.lists(st.integers(1, 50), min_size=1, max_size=7)


def experiment(**changes: Any) -> Experiment:
    return Experiment.model_validate(merged(SMALL, changes))


def forecast(paces: Mapping[str, Sequence[Pace]], images: int = 1000) -> Forecast:
    return Forecast(paces, lambda _: images)


def optimum(durations: Sequence[float], slots: int) -> float:
    """The best of all ways to share the durations out."""
    ways = itertools.product(range(slots), repeat=len(durations))
    return min(
        max(sum(d for d, at in zip(durations, way, strict=True) if at == s) for s in range(slots))
        for way in ways
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"epochs": 9},
        {"optimizer": {"lr": 0.1, "weight_decay": 0.3, "warmup_fraction": 0.5}},
        {"speaker": {"temperature": {"start": 2.0}, "gate": {"temperature": 0.5}}},
        {"contrast": {"temperature": 0.2}},
        {"data": {"count": 500, "seed": 1}},
    ],
    ids=str,
)
def test_numbers_that_cost_no_time_leave_the_shape(changes: dict[str, Any]) -> None:
    assert shape(experiment(**changes)) == shape(experiment())


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 32},
        {"precision": "bf16"},
        {"compile": True},
        {"data": {"image_size": 32}},
        {"speaker": {"vocab_size": 16}},
        {"speaker": {"gate": {"kind": "all"}}},
        {"listener": {"vision": {"width": 8}}},
        {"views": {"color_jitter": None}},
        {"optimizer": {"kind": "sgd"}},
        {"validation": {"pool_size": 32}},
        {"resources": {"workers": 2}},
        {"resources": {"cpus_per_worker": 2}},
        {"checkpoints": {"every_steps": 1}},
    ],
    ids=str,
)
def test_what_costs_time_changes_the_shape(changes: dict[str, Any]) -> None:
    assert shape(experiment(**changes)) != shape(experiment())


@given(st.floats(1e-6, 1e6), st.integers(1, 30))
def test_bounds_shrink_as_runs_agree(value: float, runs: int) -> None:
    fewer, more = predicted([value] * runs), predicted([value] * (runs + 1))
    assert fewer.low < more.low < more.expected < more.high < fewer.high


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=20), st.floats(1.1, 1.9))
def test_bounds_grow_as_runs_differ(values: list[float], factor: float) -> None:
    mean = sum(values) / len(values)
    wider = predicted([mean + (value - mean) * factor for value in values])
    assert wider.high >= predicted(values).high * (1 - 1e-9)


def test_one_run_is_trusted_to_thirty_percent() -> None:
    found = predicted([10.0])
    assert (found.low, found.expected, found.high) == pytest.approx((7.0, 10.0, 13.0))


def test_many_runs_have_the_interval_of_one_more() -> None:
    values = [float(stats.norm(1.0, 0.1).ppf((i + 0.5) / 400)) for i in range(400)]
    law = stats.t(399, loc=1.0, scale=0.1 * (1 + 1 / 400) ** 0.5)
    assert predicted(values).low == pytest.approx(law.ppf(0.025), rel=0.01)
    assert predicted(values).high == pytest.approx(law.ppf(0.975), rel=0.01)


@given(DURATIONS, st.integers(1, 5))
def test_wall_time_is_no_less_than_it_can_be(durations: list[int], slots: int) -> None:
    found = makespan(durations, slots)
    assert found >= sum(durations) / slots - 1e-9
    assert found >= max(durations)
    assert found <= sum(durations)


@given(DURATIONS, st.integers(1, 3))
def test_longest_first_is_within_grahams_bound(durations: list[int], slots: int) -> None:
    best = optimum(durations, slots)
    assert best <= makespan(durations, slots) <= best * (4 / 3 - 1 / (3 * slots)) + 1e-9


@given(st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_longest_first_is_the_best_of_all_ways_for_few(durations: list[int]) -> None:
    assert makespan(durations, 2) == optimum(durations, 2)


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 9), st.floats(0, 9)), min_size=1))
def test_bounds_of_the_wall_lie_around_it(given_: list[tuple[float, float, float]]) -> None:
    ranges = [Interval(low, low + more, low + more + most) for low, more, most in given_]
    one, three = wall(ranges, 1), wall(ranges, 3)
    assert three.low <= three.expected <= three.high
    assert one.expected == pytest.approx(sum(r.expected for r in ranges))


def test_hours_and_dollars_are_of_what_a_trial_holds() -> None:
    resources = experiment(
        resources={"workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 0.5}
    ).resources
    cost = cost_of([(resources, Interval(1800, 3600, 7200))] * 4, slots=2, usd_per_gpu_hour=2.5)
    assert cost.cpu_hours == Interval(12, 24, 48)
    assert cost.gpu_hours == Interval(2, 4, 8)
    assert cost.usd == Interval(5, 10, 20)
    assert cost.wall_s == Interval(3600, 7200, 14400)
    assert cost_of([], slots=None, usd_per_gpu_hour=None).wall_s is None


def test_slots_are_what_a_machine_holds() -> None:
    def slots(cpus: int, **resources: float) -> int | None:
        return slots_on(experiment(resources=resources).resources, cpus, memory_gib=24.0)

    assert slots(13, workers=2, cpus_per_worker=3) == 2
    assert slots(2, cpus_per_worker=3) is None
    assert slots(8, gpus_per_worker=1.0) is None
    assert slots(8, gib_per_worker=5.0) == 4
    assert slots(2, gib_per_worker=5.0) == 2
    assert slots(8, gib_per_worker=25.0) is None


def test_seconds_follow_the_images_of_all_epochs() -> None:
    one = experiment(epochs=3)  # 15 whole batches of 64 in 1000 images
    made = forecast({shape(one): [Pace(96.0, "cpu", "runs")]})
    seconds = made.seconds(one)
    assert seconds is not None
    assert seconds.expected == pytest.approx(3 * 15 * 64 / 96)


def test_an_unknown_shape_is_not_guessed() -> None:
    known, other = experiment(), experiment(batch_size=32)
    made = forecast({shape(known): [Pace(96.0, "cpu", "runs")]})
    assert made.seconds(other) is None
    assert made.unknown([known, other, other.model_copy(update={"seed": 1})]) == [other]
    assert made.basis(other) == ""


def test_whole_runs_count_before_steps_and_those_before_a_calibration() -> None:
    one = experiment()
    key = shape(one)
    run = stored({"perf/images_per_s": 50.0})
    tags = {"pg.shape": key, "pg.device": "cpu"}
    whole = replace(run, tags={**tags, "pg.seconds": "20", "pg.images": "400"})
    resumed = replace(run, tags=tags)
    failed = replace(whole, status="FAILED", tags={**whole.tags, "pg.seconds": "1"})
    timed = {key: [Pace(10.0, "cpu", "calibration")]}
    expected = {"calibrated steps on cpu": 10, "the steps of 1 resumed run on cpu": 50}
    expected["2 runs on cpu"] = 20
    for runs in ([failed], [failed, resumed], [whole, resumed, failed, whole]):
        made = Forecast.of(runs, timed, lambda _: 1000)
        seconds = made.seconds(one)
        assert seconds is not None
        speed = made.images(one) / seconds.expected
        assert speed == pytest.approx(expected.pop(made.basis(one)))
    assert not expected


def test_devices_are_never_mixed() -> None:
    one = experiment()
    some = [Pace(900.0, "H100", "runs"), Pace(10.0, "cpu", "runs"), Pace(10.0, "cpu", "runs")]
    assert forecast({shape(one): some}).basis(one) == "2 runs on cpu"
    assert forecast({shape(one): some[::-1]}).basis(one) == "1 run on H100"


def test_calibrations_are_found_again(tmp_path: Path) -> None:
    assert calibrations(tmp_path / "new") == {}
    for device, speed in (("cpu", 10.0), ("H100", 900.0), ("cpu", 12.5)):
        pace = Pace(speed, device, "calibration", peak_gib=speed / 100, device_gib=24.0)
        keep_calibration(tmp_path / "new", "shape", pace)
    found = calibrations(tmp_path / "new")["shape"]
    assert [(pace.images_per_s, pace.peak_gib) for pace in found] == [(900.0, 9.0), (12.5, 0.125)]
    (tmp_path / "new" / "calibrations.json").write_text("[1")
    with pytest.raises(ValueError, match=r"calibrations\.json"):
        calibrations(tmp_path / "new")


def test_a_calibration_takes_real_steps_past_the_end_of_a_short_run() -> None:
    found = calibrate(experiment(epochs=1, data={"count": 250}), steps=3)
    assert found.images_per_s > 0
    assert found.device == "cpu"
    assert 0.1 < found.peak_gib < found.device_gib


def test_a_calibration_of_several_workers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"resources\.workers is 2"):
        calibrate(experiment(resources={"workers": 2}), steps=3)


def test_a_finished_run_forecasts_the_next(tmp_path: Path) -> None:
    first = single(experiment(epochs=1), "first", identity)
    longer = experiment(epochs=4, optimizer={"lr": 1e-3})
    with Store.open(tmp_path) as store:
        run_train(first, tmp_path, store, LocalExecutor(tmp_path))
        runs = store.finished_of_shape(shape(longer))
        others = store.finished_of_shape(shape(experiment(batch_size=32)))
    (run,) = runs
    assert others == []
    made = Forecast.of(runs, {}, lambda data: split_sizes(data)["train"])
    assert made.basis(longer) == "1 run on cpu"
    assert int(run.tags["pg.images"]) == made.images(first.experiment)
    seconds = made.seconds(longer)
    assert seconds is not None
    assert seconds.expected == pytest.approx(4 * float(run.tags["pg.seconds"]))


def test_a_run_from_a_checkpoint_does_not_pass_for_a_whole_one(tmp_path: Path) -> None:
    trial = single(experiment(epochs=1), "first", identity)
    with Store.open(tmp_path) as store:
        executor = LocalExecutor(tmp_path)
        run_train(trial, tmp_path, store, executor)
        runs = TrialRuns.of_single(store, "again", ACCURACY, partial(trial_folder, tmp_path))
        with LiveTable([trial], ACCURACY.name) as screen:
            rules = SweepFile(name="again", metric=ACCURACY)
            judge = EarlyStopping(rules.early_terminate, maximize=True, epochs=1)
            scheduler = Scheduler(rules, TrialEvents(runs, screen, store.flush), judge)
            scheduler.add([trial])
            control = Control(tmp_path, "again")
            control.open()
            executor.run(scheduler, trial.experiment.resources, control)
        _, again = store.finished_of_shape(shape(trial.experiment))
    assert Forecast.of([again], {}, lambda _: 1000).basis(trial.experiment) == (
        "the steps of 1 resumed run on cpu"
    )


def dry_run(trials: Sequence[Trial], speed: float | None) -> DryRun:
    paces = {} if speed is None else {shape(trials[0].experiment): [Pace(speed, "cpu", "runs")]}
    return DryRun(
        trials,
        reused={trials[0].id},
        shared={trials[1].id: "other"},
        infeasible={trials[2].id: "out of memory"},
        failed={trials[3].id},
        forecast=forecast(paces, images=512),
        slots=2,
        usd_per_gpu_hour=None,
    )


def test_each_trial_is_told_what_will_happen_to_it() -> None:
    trials = vocabularies([2, 4, 8], seeds=2)
    lines = list(dry_run(trials, speed=512.0).listing())
    for trial, line in zip(trials, lines, strict=False):
        assert line.startswith(trial.name)
        assert trial.id in line
    told = ["reused", "reused from sweep other", "infeasible: out of memory", "--retry-failed"]
    for words, line in zip(told, lines, strict=False):
        assert words in line
    assert "run  1m 40s" in lines[4]  # 100 epochs of 512 images
    summary = "\n".join(lines[6:])
    assert "3 points x 2 seeds = 6 trials" in summary
    assert "2 run" in summary
    assert "1 run on cpu" in summary
    assert "1m 40s (1m 10s to 2m 10s) on 2 slots" in summary


def test_what_has_no_forecast_is_said() -> None:
    lines = list(dry_run(vocabularies([2, 4, 8], seeds=2), speed=None).listing())
    assert "unknown" in lines[4]
    assert "2 of 2 trials" in lines[-1]
    assert "--calibrate" in lines[-1]


def test_the_plain_form_says_the_same() -> None:
    trials = vocabularies([2, 4, 8], seeds=2)
    plain = json.loads(json.dumps(dry_run(trials, speed=512.0).as_dict(), allow_nan=False))
    assert [t["id"] for t in plain["trials"]] == [t.id for t in trials]
    fates = ["reused", "shared", "infeasible", "failed", "run", "run"]
    assert [t["will"] for t in plain["trials"]] == fates
    assert plain["trials"][4]["seconds"]["expected"] == pytest.approx(100)
    assert plain["cost"]["seconds"]["expected"] == pytest.approx(200)
    assert plain["counts"]["run"] == 2
    assert plain["without_forecast"] == 0
    assert dry_run(trials, speed=None).as_dict()["shapes_to_calibrate"] == 1


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0s"), (9.96, "10s"), (59.6, "1m 0s"), (3725, "1h 2m"), (100_000, "1d 3h")],
)
def test_durations_are_read_by_people(seconds: float, told: str) -> None:
    assert clock(seconds) == told
