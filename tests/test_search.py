"""Which points a search that learns asks for: on sweep files, with rules in place of training."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from pg_platform.config.experiment import Crop
from pg_platform.driver.search import PointSearch
from pg_platform.sweep.load import Sweep, load_sweep
from pg_platform.sweep.trials import Trial, plan, trials_of_point

Rule = Callable[[Mapping[str, Any]], float]
"""A choice to its result."""

PLANE = """
  views.flip: {min: 0.0, max: 1.0}
  contrast.temperature: {min: 0.02, max: 1.0, distribution: log_uniform}
"""


def load(folder: Path, parameters: str, **words: object) -> Sweep:
    lines = [f"{key}: {json.dumps(value)}" for key, value in words.items()]
    file = folder / "sweep.yaml"
    file.write_text("\n".join(["name: s", "method: bayes", *lines, f"parameters:\n{parameters}"]))
    return load_sweep(file, [])


def search(sweep: Sweep) -> PointSearch:
    def trials_of(choice: Mapping[str, Any]) -> list[Trial]:
        assert sweep.space is not None
        point = sweep.space.point(choice)
        return [] if point is None else trials_of_point(sweep, point, lambda _: "", choice)

    assert sweep.space is not None
    return PointSearch(sweep.space, sweep.file, trials_of, list(plan(sweep, lambda _: "")))


def asked(made: PointSearch, rule: Rule = lambda _: 0.5) -> list[list[Trial]]:
    """All points in turn, each told of before the next."""
    points = []
    while trials := made.ask():
        points.append(trials)
        made.tell(trials[0].group, [rule(trials[0].choice)] * len(trials), pruned=False)
    return points


def choices(points: Sequence[Sequence[Trial]]) -> list[dict[str, Any]]:
    return [trials[0].choice for trials in points]


def bowl(choice: Mapping[str, Any]) -> float:
    """Smooth, 0 at flip 0.7 and temperature 0.1, less elsewhere."""
    octaves: float = math.log2(choice["contrast.temperature"] / 0.1)
    flip: float = choice["views.flip"] - 0.7
    return -(flip**2) - (octaves / 6) ** 2


def states(made: PointSearch) -> list[TrialState]:
    assert made.study is not None
    return [trial.state for trial in made.study.trials]


def test_equal_seeds_give_equal_points(tmp_path: Path) -> None:
    first = choices(asked(search(load(tmp_path, PLANE, samples=14)), bowl))
    assert choices(asked(search(load(tmp_path, PLANE, samples=14)), bowl)) == first
    other = choices(asked(search(load(tmp_path, PLANE, samples=14, search_seed=1)), bowl))
    assert all(choice not in first for choice in other)


def test_samples_are_points_and_a_point_has_all_its_seeds(tmp_path: Path) -> None:
    points = asked(search(load(tmp_path, PLANE, samples=4, seeds=3)))
    assert [[trial.seed for trial in trials] for trials in points] == [[0, 1, 2]] * 4
    assert len({trials[0].group for trials in points}) == 4


def test_each_kind_of_range_gives_its_numbers(tmp_path: Path) -> None:
    text = """
  contrast.temperature: {min: 0.02, max: 1.0, distribution: log_uniform}
  speaker.vocab_size: {min: 2, max: 64, distribution: log_int}
  speaker.symbol.hidden: {min: 64, max: 250, q: 32}
  views.flip: {min: 0.1, max: 1.0, q: 0.2}
  optimizer.lr: {min: 0.001, max: 0.1, distribution: log_uniform, q: 0.002}
  listener.head.hidden: {min: 64, max: 256, distribution: log_int, q: 64}
  epochs: {min: 3, max: 5}
"""
    made = search(load(tmp_path, text, samples=60))
    drawn = choices(asked(made, lambda _: math.nan))  # without results all draws are by chance
    by_key = {key: [choice[key] for choice in drawn] for key in drawn[0]}
    assert set(by_key["speaker.symbol.hidden"]) == {64, 96, 128, 160, 192, 224}
    assert set(by_key["views.flip"]) == {0.1, 0.3, 0.5, 0.7, 0.9}
    assert set(by_key["listener.head.hidden"]) == {64, 128, 192, 256}
    assert set(by_key["epochs"]) == {3, 4, 5}
    assert all(round(lr * 1e6) % 2000 == 1000 for lr in by_key["optimizer.lr"])
    assert all(type(size) is int and 2 <= size <= 64 for size in by_key["speaker.vocab_size"])
    for key, middle in {"contrast.temperature": 0.14, "speaker.vocab_size": 11}.items():
        assert 15 <= sum(value < middle for value in by_key[key]) <= 45, key
    assert all(float(f"{t:.4g}") == t for t in by_key["contrast.temperature"])


SECTIONS = """
  data: {values: [{kind: digits}, {kind: shapes, count: 80, image_size: 28}]}
  views.crop.scale: {values: [[0.2, 1.0], [0.5, 1.0], [0.8, 1.0]]}
"""


def test_values_may_be_sections_and_lists(tmp_path: Path) -> None:
    points = asked(search(load(tmp_path, SECTIONS, samples=6)))
    crops = [Crop(scale=(low, 1.0)) for low in (0.2, 0.5, 0.8)]
    made = {(trial.experiment.data.kind, trial.experiment.views.crop) for (trial,) in points}
    assert made == {(kind, crop) for kind in ("digits", "shapes") for crop in crops}


def test_a_choice_that_was_stored_as_text_is_the_same_point(tmp_path: Path) -> None:
    sweep = load(tmp_path, SECTIONS, samples=6)
    points, again = asked(search(sweep)), search(sweep)
    for (trial,) in points[:5]:
        again.replay(trial.group, json.loads(json.dumps(trial.choice)), [0.5])
    assert [trials[0].id for trials in asked(again)] == [points[5][0].id]


@pytest.mark.parametrize("count", [3, 6])
def test_a_small_space_is_gone_through_and_then_the_search_ends(tmp_path: Path, count: int) -> None:
    values = list(range(2, 2 + count))
    text = f"  speaker.vocab_size: {{values: {values}}}\n  epochs: {{min: 1, max: {count}}}\n"
    made = search(load(tmp_path, text, samples=count**2 + 9))
    points = asked(made, lambda choice: float(choice["epochs"]))
    found = {tuple(choice.values()) for choice in choices(points)}
    assert found == {(size, epochs) for size in values for epochs in range(1, count + 1)}
    assert len(points) == count**2
    assert made.ask() == []


def test_what_is_excluded_is_not_asked_for(tmp_path: Path) -> None:
    text = "  speaker.vocab_size: {values: [2, 4, 8]}\n  epochs: {values: [1, 2, 3]}\n"
    excluded = ["epochs == 2 and speaker.vocab_size > 2", "epochs == 3"]
    drawn = choices(asked(search(load(tmp_path, text, samples=9, exclude=excluded))))
    found = sorted((choice["epochs"], choice["speaker.vocab_size"]) for choice in drawn)
    assert found == [(1, 2), (1, 4), (1, 8), (2, 2)]


def test_a_needle_is_found_where_nearly_all_is_excluded(tmp_path: Path) -> None:
    text = "  speaker.vocab_size: {min: 2, max: 101}\n"
    sweep = load(tmp_path, text, samples=2, exclude=["speaker.vocab_size < 100"])
    found = {choice["speaker.vocab_size"] for choice in choices(asked(search(sweep)))}
    assert found == {100, 101}


def test_a_point_that_is_included_anyway_is_not_asked_for(tmp_path: Path) -> None:
    text = "  epochs: {values: [1, 2, 3]}\n"
    included = [{"epochs": 2}, {"epochs": 3, "speaker.vocab_size": 128}]  # 128 is the default
    sweep = load(tmp_path, text, samples=3, include=included)
    assert choices(asked(search(sweep))) == [{"epochs": 1}]


def test_points_of_earlier_calls_count_and_are_not_asked_for_again(tmp_path: Path) -> None:
    text = "  speaker.vocab_size: {values: [2, 4, 8]}\n  epochs: {values: [1, 2, 3]}\n"
    sweep = load(tmp_path, text, samples=7)
    points, again = asked(search(sweep)), search(sweep)
    for trials in points[:4]:
        again.replay(trials[0].group, trials[0].choice, [0.5])
    more = asked(again)
    assert len(more) == 3
    assert not {t[0].id for t in points[:4]} & {t[0].id for t in more}


def test_a_search_that_goes_on_starts_from_what_was_found(tmp_path: Path) -> None:
    """Five points after twenty good and bad ones lie nearer to the best than five first ones."""
    near, far = [], []
    for seed in range(5):
        sweep = load(tmp_path, PLANE, samples=25, search_seed=seed)
        points, again = asked(search(sweep)), search(sweep)
        for (trial,) in points[:20]:
            again.replay(trial.group, trial.choice, [bowl(trial.choice)])
        near += [bowl(choice) for choice in choices(asked(again, bowl))]
        far += [bowl(choice) for choice in choices(points[:5])]
    assert statistics.median(near) > statistics.median(far) / 2


def test_a_point_that_goes_on_from_an_earlier_call_is_learnt_from(tmp_path: Path) -> None:
    """Replayed without results, since it was interrupted, and told of when it ends."""
    sweep = load(tmp_path, PLANE, samples=3)
    points, again = asked(search(sweep)), search(sweep)
    for (trial,) in points[:2]:
        again.replay(trial.group, trial.choice, [])
    again.tell(points[0][0].group, [0.25], pruned=False)
    again.tell(points[1][0].group, [], pruned=False)
    assert states(again) == [TrialState.COMPLETE, TrialState.FAIL]
    assert again.study is not None
    assert again.study.best_value == 0.25
    assert len(asked(again)) == 1


def test_how_a_point_ended(tmp_path: Path) -> None:
    made = search(load(tmp_path, PLANE, samples=5, seeds=2))
    done, failed, pruned, no_number, partly = (made.ask()[0].group for _ in range(5))
    made.tell(done, [0.2, 0.4], pruned=False)
    made.tell(failed, [], pruned=False)
    made.tell(pruned, [0.9, 0.9], pruned=True)
    made.tell(no_number, [math.nan, math.inf], pruned=False)
    made.tell(partly, [math.nan, 0.1], pruned=False)
    made.tell("of another sweep", [9.0], pruned=False)
    assert states(made) == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert made.study is not None
    assert made.study.best_value == pytest.approx(0.3)
    assert made.study.trials[2].intermediate_values == {1: pytest.approx(0.9)}
    assert made.study.trials[4].value == pytest.approx(0.1)


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_the_goal_says_where_the_search_goes(tmp_path: Path, goal: str) -> None:
    metric = {"name": "train/loss", "goal": goal}
    text = "  views.flip: {min: 0.0, max: 1.0}\n"
    drawn = choices(
        asked(search(load(tmp_path, text, samples=30, metric=metric)), lambda c: c["views.flip"])
    )
    late = statistics.median(choice["views.flip"] for choice in drawn[15:])
    assert late > 0.8 if goal == "maximize" else late < 0.2


def test_the_search_is_better_than_chance_on_a_smooth_function(tmp_path: Path) -> None:
    """By the median of five seeds, of the best of forty points."""
    learnt, chance = [], []
    for seed in range(5):
        sweep = load(tmp_path, PLANE, samples=40, search_seed=seed)
        assert sweep.space is not None
        learnt.append(max(bowl(choice) for choice in choices(asked(search(sweep), bowl))))
        source = random.Random(seed)
        draws = [{d.key: d.draw(source) for d in sweep.space.dimensions} for _ in range(40)]
        chance.append(max(map(bowl, draws)))
    assert statistics.median(learnt) > statistics.median(chance) / 2
