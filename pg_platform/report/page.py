"""The result of a sweep as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import jinja2
from markupsafe import Markup

from pg_platform.report.comparison import Comparison
from pg_platform.report.paper_claims import Verdict
from pg_platform.sweep.schema import Paper

_BEFORE = re.compile(r".*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_ROOT = re.compile(r"<svg\b[^>]*>")
_SIZE = re.compile(r'\s(?:width|height)="[^"]*"')
_ID = re.compile(r'(\sid="|url\(#|href="#)')


@dataclass(frozen=True)
class PageFigure:
    """A figure as matplotlib's SVG. `title` names it to who cannot see it."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class ForecastSummary:
    """What a quantity was thought to be, and what it became, both in `unit`."""

    name: str
    unit: str
    forecast: float
    actual: float | None


@dataclass(frozen=True)
class PageContent:
    """All that a page shows. Texts are plain; an empty part is left out.

    `failures` are (trial, traceback); `how_run` are names and texts: recipe, seeds, commit,
    machine, dates. `notes` say why something is not there, such as importances.
    """

    title: str
    question: str
    answer: str
    comparison: Comparison
    paper: Paper | None = None
    verdicts: Sequence[Verdict] = ()
    drawings: Sequence[PageFigure] = ()
    notes: Sequence[str] = ()
    failures: Sequence[tuple[str, str]] = ()
    forecasts: Sequence[ForecastSummary] = ()
    how_run: Mapping[str, str] | None = None
    caveats: Sequence[str] = ()


@dataclass(frozen=True)
class PageTable:
    """A table with its name for who cannot see it; the rows `best` stand out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    label: str
    best: Collection[int] = ()


def page(content: PageContent) -> str:
    """One HTML document: style and figures are in it, it loads nothing and runs no script."""
    return rendered(
        "sweep.html",
        title=content.title,
        content=content,
        metric=content.comparison.metric,
        comparison=_comparison(content.comparison),
        paper_values=paper_values(content.paper, content.comparison),
        failures=_by_traceback(content.failures),
        forecasts=_forecasts(content.forecasts),
        inline=inline,
    )


def rendered(template: str, **context: Any) -> str:
    """The HTML of a template beside this file; whatever text goes in is escaped."""
    return _templates().get_template(template).render(context)


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("pg_platform.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline(svg: str, prefix: str, label: str) -> Markup:
    """The <svg> element alone, as an image named `label` that takes the width it is given.

    Every id and every reference to one gets `prefix`: ids of two figures do not collide.
    Raises ValueError where there is no <svg> element with a viewBox.
    """
    text = _METADATA.sub("", _BEFORE.sub("", svg, count=1))
    root = _ROOT.match(text)
    if root is None or "viewBox=" not in root[0]:
        raise ValueError(f"{label} wants an <svg> element with a viewBox, got {svg[:80]!r}")
    named = f' role="img" aria-label="{escape(label)}">'
    opened = _SIZE.sub("", root[0]).removesuffix(">") + named
    return Markup(_ID.sub(rf"\g<1>{prefix}-", opened + text[root.end() :]).strip())


def paper_values(paper: Paper | None, comparison: Comparison) -> PageTable | None:
    """The paper's numbers beside ours, also where we have none; None where it gives none."""
    if paper is None or not paper.values:
        return None
    ours = {point.group: point.summary for point in comparison.points}
    rows = []
    for group, value in paper.values.items():
        summary = ours.get(group)
        if summary is None or summary.mean is None:
            found = ["not in this sweep" if summary is None else "no result", "", ""]
        else:
            found = [_number(summary.mean), _interval(summary.low, summary.high), f"{summary.n}"]
        rows.append([group, _number(value), *found])
    head = ["point", "paper", f"here: {comparison.metric.name}", "95 % interval", "seeds"]
    return PageTable(head, rows, "the paper's values beside ours")


def _comparison(comparison: Comparison) -> PageTable:
    numbers = comparison.table()
    best = comparison.ranked()[:1]
    marked = {at for at, point in enumerate(comparison.points) if point in best}
    return PageTable(numbers.columns, numbers.printed(), "comparison of the points", marked)


def _by_traceback(failures: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Each traceback once, with the trials that it ended."""
    trials: dict[str, list[str]] = {}
    for trial, traceback in failures:
        trials.setdefault(traceback.strip(), []).append(trial)
    return trials


def _forecasts(forecasts: Sequence[ForecastSummary]) -> PageTable:
    rows = [
        [f.name, f.unit, _number(f.forecast), *_became(f.forecast, f.actual)] for f in forecasts
    ]
    head = ["quantity", "unit", "forecast", "actual", "actual / forecast"]
    return PageTable(head, rows, "forecast against actual")


def _became(forecast: float, actual: float | None) -> list[str]:
    if actual is None:
        return ["not measured", ""]
    return [_number(actual), f"{actual / forecast:.2f}x" if forecast else ""]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _interval(low: float | None, high: float | None) -> str:
    return "one seed" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"
