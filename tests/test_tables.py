"""The comparison of points and its forms."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from pg_platform.results.answer import answer
from pg_platform.results.tables import Comparison, Table, chance, compare, print_table
from tests.results import ACCURACY, LOSS, stored, trial, vocabularies


def two_points() -> Comparison:
    """V=2 with 0.1 and 0.2, V=64 with 0.4 and 0.5."""
    trials = vocabularies([2, 64], seeds=2)
    results = [0.1, 0.2, 0.4, 0.5]
    runs = {t.id: stored({ACCURACY.name: r}) for t, r in zip(trials, results, strict=True)}
    return compare(trials, runs, ACCURACY)


def test_a_row_per_point_in_the_order_of_the_plan() -> None:
    trials = vocabularies([64, 2, 8], seeds=1)
    results = dict(zip([t.id for t in trials], [0.3, 0.5, 0.1], strict=True))
    runs = {key: stored({ACCURACY.name: value}) for key, value in reversed(results.items())}
    table = compare(trials, runs, ACCURACY).table()
    assert table.columns == (
        *("vocab_size", "n", "mean", "sd", "ci_low", "ci_high", "chance", "failed", "best"),
    )
    assert [row[:3] for row in table.rows] == [(64, 1, 0.3), (2, 1, 0.5), (8, 1, 0.1)]
    assert [row[-1] for row in table.rows] == ["", "*", ""]


def test_the_interval_is_over_seeds() -> None:
    row = two_points().table().rows[0]
    assert row[1] == 2
    assert row[2:6] == pytest.approx((0.15, 0.0707107, -0.4853102, 0.7853102), abs=1e-6)
    assert row[6] == 1 / 512


def test_what_failed_and_what_is_open_is_counted_apart() -> None:
    trials = vocabularies([2], seeds=6)
    runs = {
        trials[0].id: stored({ACCURACY.name: 0.2}),
        trials[1].id: stored({ACCURACY.name: 0.9}, "FAILED"),
        trials[2].id: stored({ACCURACY.name: math.nan}),
        trials[3].id: stored({}),
        trials[4].id: stored({ACCURACY.name: 0.9}, "KILLED"),
    }
    (point,) = compare(trials, runs, ACCURACY).points
    assert (point.summary.n, point.summary.mean) == (1, 0.2)
    assert (point.failed, point.open) == (3, 2)


def test_runs_outside_the_plan_do_not_count() -> None:
    (wanted,) = vocabularies([2], seeds=1)
    runs = {wanted.id: stored({ACCURACY.name: 0.2}), "old": stored({ACCURACY.name: 0.9})}
    (point,) = compare([wanted], runs, ACCURACY).points
    assert (point.summary.n, point.summary.mean) == (1, 0.2)


def test_the_goal_decides_what_is_best() -> None:
    trials = vocabularies([2, 8], seeds=1)
    runs = {
        t.id: stored({ACCURACY.name: v, LOSS.name: v})
        for t, v in zip(trials, [0.1, 0.9], strict=True)
    }
    assert [p.group for p in compare(trials, runs, ACCURACY).ranked()] == ["V=8", "V=2"]
    assert [p.group for p in compare(trials, runs, LOSS).ranked()] == ["V=2", "V=8"]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("val/top1_pool512", 1 / 512),
        ("val/top5_pool64", 5 / 64),
        ("val/reverse_top1_pool512", 1 / 512),
        ("train/top1_batch", None),
        ("train/loss", None),
    ],
)
def test_chance(metric: str, expected: float | None) -> None:
    assert chance(metric) == expected


def test_no_heading_has_a_dot_and_none_stands_for_two_keys() -> None:
    point = {"views.speaker.blur": 1.0, "views.listener.blur": 0.1, "batch_size": 8}
    table = compare([trial("p", 0, point)], {}, ACCURACY).table()
    assert table.columns[:3] == ("views/speaker/blur", "views/listener/blur", "batch_size")


def test_csv_and_json_keep_full_precision() -> None:
    table = two_points().table()
    _, *rows = csv.reader(io.StringIO(table.csv()))
    assert [float(row[2]) for row in rows] == [row[2] for row in table.rows]
    split = json.loads(table.json())
    assert split["columns"] == list(table.columns)
    assert [row[2] for row in split["data"]] == [row[2] for row in table.rows]


def test_what_is_unknown_is_empty() -> None:
    table = Table(("a", "b", "c"), ((None, math.nan, (1, 2)),))
    assert json.loads(table.json())["data"] == [[None, None, "[1, 2]"]]
    assert table.csv() == 'a,b,c\n,nan,"(1, 2)"\n'
    assert table.printed()[0][0] == ""


def test_markdown_rounds_and_escapes() -> None:
    table = Table(("a|b", "c"), ((0.123456, "x|y"), (7, "")))
    assert table.markdown().split("\n") == [
        "| a\\|b | c |",
        "| --- | --- |",
        "| 0.1235 | x\\|y |",
        "| 7 |  |",
    ]


def test_the_terminal_shows_the_printed_rows(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = two_points()
    print_table(comparison)
    shown = capsys.readouterr().out
    for row in comparison.table().printed():
        line = next(line for line in shown.splitlines() if line.split()[:2] == row[:2])
        assert line.split() == [cell for cell in row if cell]


def test_the_answer_names_best_and_worst() -> None:
    trials = vocabularies([2, 64], seeds=3)
    results = [0.1, 0.11, 0.12, 0.4, 0.41, 0.42]
    runs = {t.id: stored({ACCURACY.name: r}) for t, r in zip(trials, results, strict=True)}
    assert answer(compare(trials, runs, ACCURACY)) == (
        "V=64 is best in val/top1_pool512: 0.41 [0.385, 0.435] over 3 seeds, 210x chance. "
        "Its interval lies apart from that of the next, V=2. "
        "V=2 is worst: 0.11 [0.0852, 0.135] over 3 seeds, 56.3x chance."
    )


def test_the_answer_compares_with_the_next_and_with_the_worst() -> None:
    trials = vocabularies([2, 8, 64], seeds=2)
    results = [0.1, 0.1, 0.5, 0.5, 0.3, 0.3]
    runs = {t.id: stored({ACCURACY.name: r}) for t, r in zip(trials, results, strict=True)}
    said = answer(compare(trials, runs, ACCURACY))
    assert said.startswith("V=8 is best")
    assert "apart from that of the next, V=64" in said
    assert "V=2 is worst: 0.1 " in said


def test_the_answer_does_not_separate_overlapping_intervals() -> None:
    assert "It and V=2 are not separated by their intervals." in answer(two_points())


def test_the_answer_of_one_seed_has_no_interval() -> None:
    trials = vocabularies([2, 64], seeds=1)
    runs = {t.id: stored({LOSS.name: r}) for t, r in zip(trials, [2.0, 1.0], strict=True)}
    assert answer(compare(trials, runs, LOSS)) == (
        "V=64 is best in train/loss: 1 (one seed, no interval). "
        "The next is V=2; without two intervals nothing separates them. "
        "V=2 is worst: 2 (one seed, no interval)."
    )


def test_the_answer_says_how_far_a_sweep_is() -> None:
    trials = vocabularies([2, 64], seeds=2)
    runs = {trials[0].id: stored({ACCURACY.name: 0.5}), trials[1].id: stored({}, "FAILED")}
    assert answer(compare(trials, runs, ACCURACY)) == (
        "1 of 4 trials finished, 1 failed. "
        "V=2 has val/top1_pool512 0.5 (one seed, no interval), 256x chance."
    )
    assert answer(compare(trials, {}, ACCURACY)) == "0 of 4 trials finished. No result yet."
