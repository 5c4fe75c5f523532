"""The states of MLflow's page that a sweep saves, read back as MLflow does."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from pg_platform.store.mlflow_views import (
    TAG,
    VIEWS,
    encode,
    read_by,
    run_link,
    sweep_views,
    view_link,
)
from tests.results import ACCURACY, LOSS

KEYS = ["speaker.vocab_size", "speaker.symbols_per_patch"]
EVALS = Path(__file__).resolve().parents[1] / "evals"
EVERY = [*VIEWS, *(f"pg-by-{key}" for key in KEYS)]


def decoded(tag: str) -> dict[str, Any]:
    """The state in the value of a tag."""
    kind, _, packed = json.loads(tag)["state"].partition(";")
    assert kind == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def states(parameters: list[str]) -> dict[str, dict[str, Any]]:
    """The states of all views of a sweep, by key."""
    tags = encode(sweep_views(ACCURACY, parameters), now=1)
    return {tag.removeprefix(TAG): decoded(value) for tag, value in tags.items()}


def charts(state: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The charts of one kind."""
    return [chart for chart in state["compareRunCharts"] if chart["type"] == kind]


def test_a_tag_holds_the_view_as_it_is() -> None:
    views = sweep_views(ACCURACY, KEYS)
    tags = encode(views, now=1000)
    assert [decoded(tags[TAG + view.key]) for view in views] == [view.state for view in views]
    assert all(len(value) < 20_000 for value in tags.values())


def test_the_first_view_is_the_newest() -> None:
    tags = encode(sweep_views(ACCURACY, KEYS), now=1000)
    shared = sorted(map(json.loads, tags.values()), key=lambda view: -view["createdAt"])
    by_parameter = [f"By {key}" for key in KEYS]
    assert [view["name"] for view in shared] == [*VIEWS.values(), *by_parameter]
    assert shared[0]["createdAt"] == 1000


@pytest.mark.parametrize("key", EVERY)
def test_every_view_lists_trials_alone_with_the_best_on_top(key: str) -> None:
    state = states(KEYS)[key]
    assert state["searchFilter"] == "tags.`pg.kind` = 'trial'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val/top1_pool512`", False)
    assert sweep_views(LOSS, KEYS)[0].state["orderByAsc"] is True


def test_the_table_shows_what_varies_and_the_metric() -> None:
    table = states(KEYS)["pg-table"]
    assert table["selectedColumns"] == [
        "params.`speaker.vocab_size`",
        "params.`speaker.symbols_per_patch`",
        "params.`seed`",
        "metrics.`val/top1_pool512`",
        "tags.`pg.stop_reason`",
    ]
    assert table["columnOrder"] == table["selectedColumns"] == list(table["columnWidths"])


def test_the_curves_are_means_over_the_seeds_of_a_point() -> None:
    curves = states(KEYS)["pg-curves"]
    assert curves["groupBy"] == {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "tag", "groupByData": "pg.group"}],
    }
    shown = [chart["metricKey"] for chart in charts(curves, "LINE")]
    assert shown[:3] == ["by_images/val/top1_pool512", "val/top1_pool512", "train/loss"]
    assert "msg/length" in shown


def test_a_chart_per_parameter_and_one_of_two() -> None:
    state = states(KEYS)["pg-parameters"]
    (parallel,) = charts(state, "PARALLEL")
    assert parallel["selectedParams"] == KEYS
    assert [chart["xaxis"]["key"] for chart in charts(state, "SCATTER")] == KEYS
    (contour,) = charts(state, "CONTOUR")
    assert [contour[axis]["key"] for axis in ("xaxis", "yaxis", "zaxis")] == [*KEYS, ACCURACY.name]
    assert charts(states(KEYS[:1])["pg-parameters"], "CONTOUR") == []


@pytest.mark.parametrize("key", KEYS)
def test_each_parameter_has_a_view_with_means_over_all_else(key: str) -> None:
    state = states(KEYS)[f"pg-by-{key}"]
    assert state["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": key}]
    assert {chart["xaxis"]["key"] for chart in charts(state, "SCATTER")} == {key}
    assert f"by_images/{ACCURACY.name}" in {c["metricKey"] for c in charts(state, "LINE")}


def test_the_images_are_those_that_evaluations_leave() -> None:
    keys = [
        key for chart in charts(states(KEYS)["pg-images"], "IMAGE") for key in chart["imageKeys"]
    ]
    assert keys
    for name, _, figure in (key.partition("/") for key in keys):
        assert f'"{figure}": ' in (EVALS / f"{name}.py").read_text()


def test_the_language_view_has_a_section_for_each_evaluation_of_messages() -> None:
    sections = {
        s["name"] for s in states(KEYS)["pg-language"]["compareRunSections"] if s["display"]
    }
    assert {"form", "meaning", "topsim", "audit"} < sections


@pytest.mark.parametrize("key", [key for key in EVERY if key not in {"pg-table", "pg-language"}])
def test_every_chart_stands_in_an_open_section_before_the_closed_ones(key: str) -> None:
    state = states(KEYS)[key]
    sections = state["compareRunSections"]
    opened = {section["uuid"] for section in sections if section["display"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == opened
    display = [section["display"] for section in sections]
    assert display == sorted(display, reverse=True)
    assert len({section["name"] for section in sections}) == len(sections)


def test_links_ask_for_the_page_for_model_training() -> None:
    assert view_link("http://localhost:5000/", "7", "pg-table") == (
        "http://localhost:5000/#/experiments/7/runs?workflowType=machine_learning"
        "&compareRunsMode=TABLE&viewStateShareKey=pg-table"
    )
    assert "compareRunsMode=CHART" in view_link("", "7", "pg-curves")
    assert run_link("", "7", "abc") == "#/experiments/7/runs/abc?workflowType=machine_learning"


@pytest.mark.parametrize(
    ("release", "expected"),
    [("3.14.0", False), ("3.15.0", True), ("3.17.2", True), ("3.18.0", False), ("4.15.0", False)],
)
def test_views_are_for_releases_that_were_tried(release: str, *, expected: bool) -> None:
    assert read_by(release) is expected
