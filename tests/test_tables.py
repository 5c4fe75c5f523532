"""The comparison of points and its forms."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import ttest_rel

from pg_platform.report.comparison import Comparison, chance, compare, print_table
from pg_platform.report.summary import answer
from pg_platform.store.stored_run import Ending
from pg_platform.store.table import Table
from pg_platform.sweep.load import Metric
from tests.results import ACCURACY, LOSS, stored, trial, vocabularies

MANY = {"data/val_images": 1e6}
"""So many images leave next to nothing to chance."""


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
        *("vocab_size", "n", "mean", "sd", "ci_low", "ci_high", "chance"),
        *("difference", "diff_low", "diff_high", "p", "verdict"),
        *("failed", "infeasible", "pruned", "best"),
    )
    assert [row[:3] for row in table.rows] == [(64, 1, 0.3), (2, 1, 0.5), (8, 1, 0.1)]
    assert [row[-1] for row in table.rows] == ["", "*", ""]


def test_the_interval_is_over_seeds() -> None:
    row = two_points().table().rows[0]
    assert row[1] == 2
    assert row[2:6] == pytest.approx((0.15, 0.0707107, 0.0, 0.7853102), abs=1e-6)
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


def test_the_terminal_shows_the_short_table(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = two_points()
    print_table(comparison)
    shown = capsys.readouterr().out
    assert "95 % interval" in shown
    for row in comparison.short().printed():
        line = next(line for line in shown.splitlines() if line.split()[:2] == row[:2])
        assert line.split() == " ".join(row).split()


def shifted(*shifts: float, metric: Metric = ACCURACY) -> Comparison:
    """Points whose seeds vary a lot together, and apart from that by little more than `shifts`."""
    trials = vocabularies([2**i for i in range(1, len(shifts) + 1)], seeds=4)
    common, noise = [0.1, 0.3, 0.5, 0.7], [0.001, -0.001, 0.002, -0.002]
    results = {
        t.id: common[t.seed] + shift + (noise[t.seed] if place else 0.0)
        for place, shift in enumerate(shifts)
        for t in trials[4 * place : 4 * place + 4]
    }
    runs = {key: stored({metric.name: value, **MANY}) for key, value in results.items()}
    return compare(trials, runs, metric)


def column(comparison: Comparison, name: str) -> list[Any]:
    """A column of the table."""
    table = comparison.table()
    return [row[table.columns.index(name)] for row in table.rows]


def test_what_seeds_share_does_not_hide_a_difference() -> None:
    comparison = shifted(0.0, 0.05, -0.05, 0.0)
    first, second = (point.summary for point in comparison.points[:2])
    assert first.high is not None
    assert second.low is not None
    assert second.low < first.high
    expected = ["baseline", "better", "worse", "not distinguishable"]
    assert column(comparison, "verdict") == expected
    assert column(shifted(0.0, 0.05, -0.05, metric=LOSS), "verdict") == [
        *("baseline", "worse", "better"),
    ]
    assert column(comparison, "difference") == [None, *map(pytest.approx, (0.05, -0.05, 0.0))]


def test_p_is_corrected_for_the_points_that_have_one() -> None:
    alone = column(shifted(0.0, 0.05), "p")[1]
    among = shifted(0.0, 0.05, 0.05)
    assert column(among, "p") == [None, pytest.approx(2 * alone), pytest.approx(2 * alone)]
    tested = stats.ttest_rel(
        list(among.points[1].results.values()), list(among.points[0].results.values())
    )
    assert alone == pytest.approx(tested.pvalue, rel=1e-6)


def test_differences_use_the_seeds_of_both_points() -> None:
    trials = vocabularies([2, 8, 64], seeds=3)
    given = {("V=2", 0): 0.1, ("V=2", 1): 0.2, ("V=8", 1): 0.5, ("V=8", 2): 0.9, ("V=64", 2): 0.3}
    runs = {
        t.id: stored({ACCURACY.name: given[t.group, t.seed]})
        for t in trials
        if (t.group, t.seed) in given
    }
    comparison = compare(trials, runs, ACCURACY)
    assert column(comparison, "difference") == [None, pytest.approx(0.3), None]
    assert column(comparison, "verdict") == ["baseline", "too few seeds", "no shared seed"]
    assert column(comparison, "p") == [None, None, None]


def test_the_baseline_is_the_named_point_else_the_first() -> None:
    trials = vocabularies([2, 64], seeds=1)
    assert compare(trials, {}, ACCURACY).baseline.group == "V=2"
    named = compare(trials, {}, ACCURACY, baseline={"speaker.vocab_size": 64})
    assert named.baseline.group == "V=64"
    assert column(named, "verdict") == ["no shared seed", "baseline"]
    with pytest.raises(ValueError, match=r"speaker.vocab_size': 65.*no point of the sweep"):
        compare(trials, {}, ACCURACY, baseline={"speaker.vocab_size": 65})


def test_infeasible_and_pruned_trials_are_counted_and_left_out() -> None:
    trials = vocabularies([2], seeds=5)
    ends: list[tuple[Ending, str]] = [
        *(("FINISHED", "completed"), ("FINISHED", "pruned"), ("KILLED", "pruned")),
        *(("FAILED", "infeasible"), ("FAILED", "error")),
    ]
    runs = {
        t.id: stored({ACCURACY.name: 0.2 + place}, status, reason=reason)
        for place, (t, (status, reason)) in enumerate(zip(trials, ends, strict=True))
    }
    comparison = compare(trials, runs, ACCURACY)
    assert column(comparison, "mean") == [0.2]
    counts = [column(comparison, name) for name in ("failed", "infeasible", "pruned")]
    assert counts == [[1], [1], [2]]
    assert comparison.points[0].open == 0
    assert answer(comparison).startswith(
        "1 of 5 trials finished, 1 failed, 1 infeasible, 2 pruned. V=2 has "
    )


def test_a_derived_metric_is_measured_from_histories() -> None:
    trials = vocabularies([2, 64], seeds=1)
    histories = {"V=2_seed=0": [0.1, 0.2, 0.6], "V=64_seed=0": [0.1, 0.2, 0.3]}
    runs = {t.id: stored({}, run_id=t.id) for t in trials}

    def history(run_id: str, metric: str) -> list[tuple[int, float]]:
        assert metric == ACCURACY.name
        return list(enumerate(histories[run_id], start=1))

    epochs = Metric(name=f"{ACCURACY.name}:epochs_to:0.5", goal="minimize")
    comparison = compare(trials, runs, epochs, history=history)
    assert column(comparison, "mean") == [3, None]
    assert column(comparison, "unreached") == [0, 1]
    assert column(comparison, "failed") == [0, 0]
    assert answer(comparison).startswith(
        "1 of 2 trials gave a result, 1 never reached the threshold. V=2 has "
    )
    area = compare(trials, runs, Metric.of(f"{ACCURACY.name}:area"), history=history)
    assert column(area, "mean") == pytest.approx([0.3, 0.2])
    assert area.chance == 1 / 512


def test_latex_is_escaped_and_aligned() -> None:
    table = Table(
        ("vocab_size", "mean", "tiny", "which"), ((2, 0.5, 1.0, "a&b"), (64, -12.25, 1e-9, None))
    )
    assert table.latex().split("\n") == [
        r"\begin{tabular}{rrrl}",
        r"\toprule",
        r"vocab\_size & mean & tiny & which \\",
        r"\midrule",
        r"$2$ & $0.500$ & $1.00 \times 10^{0}$ & a\&b \\",
        r"$64$ & $-12.250$ & $1.00 \times 10^{-9}$ &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@given(st.text(st.sampled_from("\\&%$#_{}~^ab"), max_size=8))
def test_no_text_breaks_out_of_a_latex_cell(text: str) -> None:
    row = Table(("a", "b"), ((text, 1),)).latex().split("\n")[4]
    bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]", "", row)
    left = bare.removesuffix(r" & $1$ \\")
    assert left != bare
    assert not set(left) & set("\\&%$#_{}~^")


def test_the_answer_names_best_and_worst_and_the_baseline() -> None:
    comparison = shifted(0.0, 0.05)
    said = answer(comparison)
    seeds = list(comparison.points[1].results.values())
    low, high = stats.t.interval(0.95, 3, np.mean(seeds), stats.sem(seeds))
    best = f"V=4 is best in val/top1_pool512: 0.45 [{low:.3g}, {high:.3g}] over 4 seeds"
    assert said.startswith(best)
    assert "V=4 is better than the baseline V=2: difference 0.05 [0.0471, 0.0529]" in said
    assert "The next" not in said
    assert "V=2 is worst: 0.4 [" in said


def test_the_answer_tells_what_is_not_distinguishable() -> None:
    said = answer(shifted(0.0, 0.0001))
    assert "V=4 is not distinguishable from the baseline V=2: difference 0.0001 [" in said
    close = answer(shifted(0.0, 0.05, 0.05))
    assert "V=4 is better than the baseline V=2" in close
    assert "The next, V=8, is not distinguishable from V=4: difference 0 [" in close


def test_the_answer_compares_the_next_with_a_best_baseline() -> None:
    said = answer(shifted(0.0, -0.05, -0.2))
    assert "V=2 is best" in said
    assert "It is the baseline. The next, V=4, is worse than V=2: difference -0.05 [" in said


def test_the_answer_of_one_seed_has_no_interval() -> None:
    trials = vocabularies([2, 64], seeds=1)
    runs = {t.id: stored({LOSS.name: r}) for t, r in zip(trials, [2.0, 1.0], strict=True)}
    assert answer(compare(trials, runs, LOSS)) == (
        "V=64 is best in train/loss: 1 (one seed, no interval). "
        "V=64 and the baseline V=2 share one seed; a verdict wants 3. "
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


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [([0.10, 0.15, 0.05], "not distinguishable"), ([0.10, 0.12, 0.08], "better")],
)
def test_what_is_distinguishable_is_so_at_five_percent(gains: list[float], verdict: str) -> None:
    """On either side of it, by scipy's paired t-test; one comparison corrects nothing."""
    trials = vocabularies([2, 8], seeds=3)
    base = [0.2, 0.3, 0.25]
    values = [*base, *(b + gain for b, gain in zip(base, gains, strict=True))]
    runs = {t.id: stored({ACCURACY.name: v, **MANY}) for t, v in zip(trials, values, strict=True)}
    found = compare(trials, runs, ACCURACY)
    rows = [dict(zip(found.table().columns, row, strict=True)) for row in found.table().rows]
    p = ttest_rel(values[3:], base).pvalue
    assert rows[1]["p"] == pytest.approx(p)
    assert 0.01 < p < 0.1
    assert (p < 0.05) == (verdict == "better")
    assert rows[1]["verdict"] == verdict
