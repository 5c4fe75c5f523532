"""Figures over the parameters of a sweep."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes

from pg_platform.plots.charts import forecast_against_actual, importance_bars
from pg_platform.plots.style import drawn
from pg_platform.report.comparison import Comparison
from pg_platform.report.learning_curves import MOST_CURVES
from pg_platform.report.parameter_figures import final_by_parameter, heat_map, parallel_coordinates
from tests.swept import swept

V, L, KIND = "speaker.vocab_size", "speaker.symbols_per_patch", "speaker.kind"


def grid() -> Comparison:
    """V against l; V=2 l=4 has no result."""
    return swept(
        {V: [64, 2, 8], L: [1, 4]},
        lambda p: [] if (p[V], p[L]) == (2, 4) else [p[V] / 100 + p[L] / 1000, p[V] / 100],
    )


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The spots of each labelled line of an error bar."""
    return {
        str(bar.get_label()): list(zip(*map(np.ravel, bar[0].get_data()), strict=True))
        for bar in axes.containers
    }


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_line_per_combination_of_the_others_in_the_order_of_values() -> None:
    (axes,) = final_by_parameter(grid(), V).axes
    drawn_lines = lines(axes)
    assert list(drawn_lines) == ["l=1", "l=4"]
    assert [x for x, _ in drawn_lines["l=1"]] == [2, 8, 64]
    assert [x for x, _ in drawn_lines["l=4"]] == [8, 64]
    assert drawn_lines["l=1"][0][1] == pytest.approx(0.0205)


def test_the_bars_are_the_interval_over_seeds() -> None:
    comparison = swept({V: [2]}, lambda _: [0.2, 0.4, 0.3])
    (axes,) = final_by_parameter(comparison, V).axes
    (bar,) = axes.containers[0][2]
    ends = bar.get_segments()[0][:, 1]
    summary = comparison.points[0].summary
    assert ends.tolist() == pytest.approx([summary.low, summary.high])


def test_the_axis_is_logarithmic_where_values_are_spread_or_it_is_asked_for() -> None:
    (spread,) = final_by_parameter(grid(), V).axes
    (near,) = final_by_parameter(grid(), L).axes
    (asked,) = final_by_parameter(grid(), L, log=True).axes
    assert [axes.get_xscale() for axes in (spread, near, asked)] == ["log", "linear", "log"]
    assert [tick.get_text() for tick in spread.get_xticklabels()] == ["2", "8", "64"]


def test_no_logarithm_of_what_has_none() -> None:
    words = swept({KIND: ["symbol", "rank"]}, lambda _: [0.5])
    with pytest.raises(ValueError, match=r"speaker\.kind.*above 0.*symbol"):
        final_by_parameter(words, KIND, log=True)
    (axes,) = final_by_parameter(words, KIND).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["symbol", "rank"]
    (zero,) = final_by_parameter(swept({"optimizer.lr": [0.0, 1.0]}, lambda _: [0.5]), V).axes
    assert zero.get_xscale() == "linear"


def test_more_combinations_than_lines_become_their_mean() -> None:
    others = range(MOST_CURVES + 1)
    many = swept({V: [2, 4], "speaker.patch_size": others}, lambda p: [p["speaker.patch_size"]])
    (axes,) = final_by_parameter(many, V).axes
    ((label, spots),) = lines(axes).items()
    assert label == f"mean of {len(others)} combinations"
    assert [y for _, y in spots] == [MOST_CURVES / 2] * 2


def test_values_of_a_random_search_are_dots() -> None:
    values = [10.0**-at for at in range(MOST_CURVES + 2)]
    pairs = swept({"optimizer.lr": values, V: values}, lambda p: [p[V]])
    diagonal = tuple(p for p in pairs.points if p.values["optimizer.lr"] == p.values[V])
    (axes,) = final_by_parameter(Comparison(pairs.metric, diagonal, diagonal[0]), V).axes
    (bar,) = axes.containers
    assert bar[0].get_linestyle() == "None"
    assert len(bar[0].get_xdata()) == len(values)


def test_a_heat_map_writes_each_mean_and_a_dash_for_none() -> None:
    (axes,) = heat_map(grid(), V, L).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "8", "64"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "4"]
    assert texts(axes) == ["0.0205", "0.0805", "0.6405", "-", "0.082", "0.642"]


def test_a_heat_map_takes_the_mean_over_the_others() -> None:
    three = swept({V: [2], L: [1], KIND: ["rank", "symbol"]}, lambda p: [float(len(p[KIND]))])
    (axes,) = heat_map(three, V, L).axes
    assert texts(axes) == ["5"]


def test_parallel_coordinates_end_at_the_results() -> None:
    (axes,) = parallel_coordinates(grid()).axes
    curves = [line for line in axes.get_lines() if len(np.ravel(line.get_xdata())) == 3]
    assert len(curves) == 5
    thick = max(curves, key=lambda line: line.get_linewidth())
    assert np.ravel(thick.get_ydata()).tolist() == [1, 1, 1]
    assert "V=64 l=4" in axes.get_title(loc="left")


def test_importances_are_written_beside_their_bars() -> None:
    (axes,) = importance_bars({V: 0.75, L: 0.25}).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [L, V]
    assert texts(axes) == ["25 %", "75 %"]


def test_a_forecast_is_shown_by_its_ratio() -> None:
    (axes,) = forecast_against_actual({"hours": (8, 10), "memory": (2e9, 1e9)}).axes
    assert texts(axes) == ["0.50x", "1.25x"]
    with pytest.raises(ValueError, match="cost wants forecast and actual above 0"):
        forecast_against_actual({"cost": (0, 1)})


def test_figures_of_a_sweep_without_results_can_be_drawn() -> None:
    empty = swept({V: [2, 4], L: [1]}, lambda _: [])
    for figure in (
        final_by_parameter(empty, V),
        heat_map(empty, V, L),
        parallel_coordinates(empty),
        importance_bars({}),
        forecast_against_actual({}),
    ):
        assert drawn(figure)["png"].startswith(b"\x89PNG")


def test_a_value_with_dollars_is_no_formula() -> None:
    odd = swept({KIND: ["$x$", "a$b^"]}, lambda _: [0.5])
    assert b"$x$" in drawn(final_by_parameter(odd, KIND))["svg"]
