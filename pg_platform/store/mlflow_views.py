"""Saved views of MLflow's experiment page, written as the experiment tags that MLflow reads.

MLflow documents neither the tags nor the state in them; the field names are those of its page in
3.15 to 3.17. A view that a later release does not understand is a lost convenience, no lost data.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pg_platform.sweep.load import Metric

TAG = "mlflow.sharedViewState."
VIEWS = {
    "pg-table": "Sweep table",
    "pg-curves": "Curves by point",
    "pg-parameters": "Hyperparameters",
    "pg-language": "Language",
    "pg-images": "Images",
}
"""Keys, as they stand in links, and names, as they stand in the menu, of what every sweep has."""

IMAGES = ("heat_maps/heat_maps", "symbols/symbols", "saliency/fig11", "form/fig10_extremes")
"""Figures of evaluations that show images of the game; see Store.put_image."""

IMAGE_HEIGHT = 720
"""Pixels of a chart with images: above each image stand all parameters of its run."""

_MESSAGES = ("msg/length", "msg/active_symbols", "msg/symbol_entropy_bits")
_LANGUAGE = ("form", "meaning", "topsim", "topsim_classes", "symbols", "audit", "bag_of_words")

MODEL_TRAINING = {"workflowType": "machine_learning"}
TRIALS = "tags.`pg.kind` = 'trial'"
# MLflow adds a chart for each metric that a view leaves out, in a section named like the metric's
# folder, so these stand last and closed.
_REST = (
    *("by_images/val", "by_images/train", "final/val", "best/val"),
    *("val", "train", "optim", "perf"),
)


@dataclass(frozen=True)
class View:
    """A saved view: its key, its name in the menu, and the state of the page."""

    key: str
    name: str
    state: dict[str, Any]


def sweep_views(metric: Metric, parameters: Sequence[str]) -> list[View]:
    """What is worth a look in a sweep that varies `parameters` (dotted keys): one view for each
    of VIEWS, then one a parameter."""
    states = {
        "pg-table": _table(metric, parameters),
        "pg-curves": _curves(metric),
        "pg-parameters": _hyperparameters(metric, parameters),
        "pg-language": _language(metric),
        "pg-images": _images(metric),
    }
    return [
        *(View(key, VIEWS[key], state) for key, state in states.items()),
        *(View(f"pg-by-{key}", f"By {key}", _by(metric, key)) for key in parameters),
    ]


def encode(views: Sequence[View], now: int) -> dict[str, str]:
    """The experiment tags of views; `now` in milliseconds. The menu has the newest on top."""
    tags = {}
    for age, view in enumerate(views):
        packed = zlib.compress(json.dumps(view.state, separators=(",", ":")).encode())
        shared = {
            "name": view.name,
            "createdAt": now - age,
            "updatedAt": now - age,
            "state": "deflate;" + base64.b64encode(packed).decode(),
        }
        tags[TAG + view.key] = json.dumps(shared)
    return tags


def read_by(release: str) -> bool:
    """Whether views as written here were seen to work in MLflow `release`, such as 3.17.2."""
    major, minor, *_ = release.split(".")
    return (3, 15) <= (int(major), int(minor)) < (3, 18)


def view_link(base_url: str, experiment_id: str, key: str) -> str:
    """The address of a view on the server at `base_url`.

    It asks for the page for model training: left to itself, MLflow opens the one for agents.
    """
    query = {
        **MODEL_TRAINING,
        "compareRunsMode": "TABLE" if key == "pg-table" else "CHART",
        "viewStateShareKey": key,
    }
    return f"{base_url}#/experiments/{experiment_id}/runs?{urlencode(query)}"


def run_link(base_url: str, experiment_id: str, run_id: str) -> str:
    """The address of a run's front page, likewise."""
    query = urlencode(MODEL_TRAINING)
    return f"{base_url}#/experiments/{experiment_id}/runs/{run_id}?{query}"


def _table(metric: Metric, parameters: Sequence[str]) -> dict[str, Any]:
    columns = [
        *(f"params.`{key}`" for key in (*parameters, "seed")),
        f"metrics.`{metric.name}`",
        "tags.`pg.stop_reason`",
    ]
    return _state(metric, columns)


def _curves(metric: Metric) -> dict[str, Any]:
    page = _Page()
    page.section("Success, mean over seeds")
    page.line(f"by_images/{metric.name}")
    page.line(metric.name)
    page.section("Training, mean over seeds")
    page.line("train/loss")
    page.line("train/top1_batch")
    page.section("Messages, mean over seeds")
    for name in _MESSAGES:
        page.line(name)
    page.rest()
    return {**_state(metric, [f"metrics.`{metric.name}`"]), **page.state(), **_means(_POINT)}


def _by(metric: Metric, parameter: str) -> dict[str, Any]:
    """What the values of one parameter make of success and of messages, all else averaged."""
    page = _Page()
    page.section(f"By {parameter}, mean over all else")
    page.line(f"by_images/{metric.name}")
    page.scatter(parameter, metric.name)
    page.section("Messages")
    for name in _MESSAGES:
        page.line(name)
        page.scatter(parameter, name)
    page.rest()
    columns = [f"params.`{parameter}`", f"metrics.`{metric.name}`"]
    group = {"mode": "param", "groupByData": parameter}
    return {**_state(metric, columns), **page.state(), **_means(group)}


def _language(metric: Metric) -> dict[str, Any]:
    """Messages while they are learned; what evaluations found stands below, a section each."""
    page = _Page()
    page.section("Messages while they are learned, mean over seeds")
    for name in _MESSAGES:
        page.line(name)
    for name in _LANGUAGE:
        page.section(name, filled=True)
    page.rest()
    return {**_state(metric, [f"metrics.`{metric.name}`"]), **page.state(), **_means(_POINT)}


def _images(metric: Metric) -> dict[str, Any]:
    """Figures of images, side by side for the trials; empty until pg-eval has drawn them."""
    page = _Page()
    for name in IMAGES:
        page.section(name, columns=1, cardHeight=IMAGE_HEIGHT)
        page.images(name)
    page.rest("msg")
    return {**_state(metric, [f"metrics.`{metric.name}`"]), **page.state()}


def _means(group: Mapping[str, str]) -> dict[str, Any]:
    """Curves are means over the trials of a group."""
    return {"groupBy": {"aggregateFunction": "average", "groupByKeys": [dict(group)]}}


_POINT = {"mode": "tag", "groupByData": "pg.group"}


def _hyperparameters(metric: Metric, parameters: Sequence[str]) -> dict[str, Any]:
    page = _Page()
    page.section("Hyperparameters")
    page.parallel(parameters or ["seed"], metric.name)
    for key in parameters:
        page.scatter(key, metric.name)
    if len(parameters) >= 2:
        page.contour(parameters[0], parameters[1], metric.name)
    page.rest("msg")
    columns = [f"params.`{key}`" for key in parameters]
    return {**_state(metric, columns), **page.state()}


def _state(metric: Metric, columns: Sequence[str]) -> dict[str, Any]:
    """The page with the trials only: ordered by a metric they stand flat, not below a parent."""
    return {
        "searchFilter": TRIALS,
        "orderByKey": f"metrics.`{metric.name}`",
        "orderByAsc": metric.goal == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": dict.fromkeys(columns, 180),
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


class _Page:
    """Sections and their charts, in the order in which they are added."""

    def __init__(self) -> None:
        self.sections: list[dict[str, Any]] = []
        self.charts: list[dict[str, Any]] = []

    def state(self) -> dict[str, Any]:
        return {
            "isAccordionReordered": True,
            "compareRunSections": self.sections,
            "compareRunCharts": self.charts,
        }

    def section(self, name: str, *, filled: bool = False, **fields: Any) -> None:
        """An open section; MLflow itself puts charts into a `filled` one, by its name."""
        self._section(name, display=True, isGenerated=filled, **fields)

    def rest(self, *more: str) -> None:
        """What no chart shows so far stands below, closed."""
        for name in (*more, *_REST):
            self._section(name, display=False)

    def _section(self, name: str, **fields: Any) -> None:
        self.sections.append(
            {
                "uuid": f"section-{len(self.sections)}",
                "name": name,
                "columns": 2,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
                **fields,
            }
        )

    def line(self, metric: str) -> None:
        self._chart(
            "LINE",
            metricKey=metric,
            selectedMetricKeys=[metric],
            xAxisKey="step",
            selectedXAxisMetricKey="",
            xAxisScaleType="linear",
            scaleType="linear",
            yAxisKey="metric",
            yAxisExpressions=[],
            lineSmoothness=0,
            ignoreOutliers=False,
            range={},
            useGlobalXaxisKey=True,
            useGlobalLineSmoothing=True,
        )

    def images(self, key: str) -> None:
        self._chart("IMAGE", imageKeys=[key], step=1)

    def parallel(self, parameters: Sequence[str], metric: str) -> None:
        self._chart(
            "PARALLEL",
            selectedParams=list(parameters),
            selectedMetrics=[metric],
            showAllRuns=True,
        )

    def scatter(self, parameter: str, metric: str) -> None:
        self._chart(
            "SCATTER",
            xaxis=_axis("PARAM", parameter),
            yaxis=_axis("METRIC", metric),
        )

    def contour(self, one: str, other: str, metric: str) -> None:
        self._chart(
            "CONTOUR",
            xaxis=_axis("PARAM", one),
            yaxis=_axis("PARAM", other),
            zaxis=_axis("METRIC", metric),
        )

    def _chart(self, kind: str, **fields: Any) -> None:
        self.charts.append(
            {
                "uuid": f"chart-{len(self.charts)}",
                "type": kind,
                "metricSectionId": self.sections[-1]["uuid"],
                "runsCountToCompare": 100,
                "deleted": False,
                "isGenerated": False,
                **fields,
            }
        )


def _axis(kind: str, key: str) -> dict[str, str | None]:
    return {"key": key, "type": kind, "dataAccessKey": None}
