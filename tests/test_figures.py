"""The curves behind the figure of a sweep, and the figure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from pg_platform.plots.style import drawn
from pg_platform.report.learning_curves import Curve, caption, learning_curves, mean_curve
from pg_platform.report.statistics import summarise


def curve(label: str, *seeds: list[float]) -> Curve:
    """The mean curve of seeds with these values, one at each 100 images."""
    histories = [[(100 * i, v) for i, v in enumerate(seed, start=1)] for seed in seeds]
    made = mean_curve(label, histories)
    assert made is not None
    return made


def figure_of(*curves: Curve, chance: float | None = 0.25) -> Figure:
    """The figure of an accuracy."""
    return learning_curves(curves, metric="val/top1_pool4", chance=chance)


def test_the_curve_is_the_mean_over_seeds() -> None:
    made = curve("V=2", [0.1, 0.2], [0.3, 0.6])
    assert made.images == (100, 200)
    assert made.mean == pytest.approx((0.2, 0.4))
    assert made.seeds == 2


def test_the_curve_ends_where_one_seed_does() -> None:
    assert curve("V=2", [0.1, 0.2, 0.3], [0.1, 0.2]).images == (100, 200)


def test_a_value_that_is_no_number_leaves_a_gap() -> None:
    made = curve("V=2", [0.1, math.nan, 0.3], [0.1, 0.2, 0.3])
    assert made.images == (100, 300)
    assert mean_curve("V=2", [[(100, math.nan)]]) is None
    assert mean_curve("V=2", []) is None


def test_the_band_is_the_interval_from_three_seeds_on() -> None:
    three = curve("V=2", [0.1], [0.2], [0.6])
    summary = summarise([0.1, 0.2, 0.6])
    assert (three.low[0], three.high[0]) == (summary.low, summary.high)
    two = curve("V=2", [0.1], [0.2])
    assert (two.low, two.high) == ((0.1,), (0.2,))
    one = curve("V=2", [0.1])
    assert one.low == one.high == (0.1,)


def test_the_caption_says_what_the_band_is() -> None:
    one, two, three = (curve("V=2", *[[0.1, 0.2]] * n) for n in (1, 2, 3))
    assert caption([], 0) == "no trial has finished yet"
    assert caption([one, one], 0) == "one seed per point: no band"
    assert caption([two], 0) == "mean over 2 seeds; band: the range of two seeds"
    assert caption([three], 0) == "mean over 3 seeds; band: 95 % interval of the mean"
    assert caption([one, two, three], 0) == (
        "mean over 1 to 3 seeds; band: the range of two seeds or 95 % interval of the mean"
    )
    assert caption([one, one], 7) == (
        "one seed per point: no band; 7 points below the best 2 left out"
    )


def test_a_line_per_point_and_one_for_chance() -> None:
    (axes,) = figure_of(curve("V=2", [0.1, 0.2]), curve("V=64", [0.3, 0.4])).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["V=2", "V=64", "chance"]
    assert np.asarray(lines["V=64"].get_ydata()).tolist() == [0.3, 0.4]
    assert np.asarray(lines["chance"].get_ydata()).tolist() == [0.25, 0.25]


def test_no_line_for_chance_where_it_is_unknown() -> None:
    (axes,) = figure_of(curve("V=2", [3.0, 2.0]), chance=None).axes
    assert [line.get_label() for line in axes.get_lines()] == ["V=2"]


def test_lines_differ_without_colour() -> None:
    (axes,) = figure_of(*(curve(f"V={i}", [0.1, 0.2]) for i in range(12)), chance=None).axes
    looks = {(str(line._dash_pattern), line.get_marker()) for line in axes.get_lines()}  # type: ignore[attr-defined]
    assert len(looks) == 12


def test_the_axis_of_shares_stays_between_0_and_1() -> None:
    wide = curve("V=2", [0.0, 0.5], [0.5, 0.99], [1.0, 1.0])
    assert min(wide.low) < 0
    (axes,) = figure_of(wide).axes
    low, high = axes.get_ylim()
    assert 0 <= low < high <= 1


def test_equal_figures_are_equal_files() -> None:
    first, second = (drawn(figure_of(curve("V=2", [0.1, 0.2]))) for _ in range(2))
    assert first["png"].startswith(b"\x89PNG")
    assert b"<svg" in first["svg"]
    assert first == second


def test_a_sweep_without_results_has_a_figure() -> None:
    assert drawn(figure_of())["png"].startswith(b"\x89PNG")
