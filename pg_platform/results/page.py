"""The result of a sweep as one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pg_platform.results.claims import Verdict
from pg_platform.results.markup import bullets, inline, table
from pg_platform.results.tables import Comparison
from pg_platform.sweep.schema import Paper

_STYLE = Path(__file__).with_name("page.css")
_KINDS = {"supported": "supported", "contradicted": "contradicted"}


@dataclass(frozen=True)
class Drawing:
    """A figure as matplotlib's SVG. `title` names it to who cannot see it."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Foreseen:
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
    drawings: Sequence[Drawing] = ()
    notes: Sequence[str] = ()
    failures: Sequence[tuple[str, str]] = ()
    forecasts: Sequence[Foreseen] = ()
    how_run: Mapping[str, str] | None = None
    caveats: Sequence[str] = ()


def page(content: PageContent) -> str:
    """One HTML document: style and figures are in it, it loads nothing and runs no script."""
    parts = {
        "The paper": paper_part(content.paper, content.verdicts, content.comparison),
        "Comparison": _comparison(content.comparison),
        "Figures": _drawings(content),
        "Caveats": bullets(content.caveats, "caveats"),
        "Failures": _failures(content.failures),
        "Forecast against actual": _forecasts(content.forecasts),
        "How it was run": _how_run(content.how_run or {}),
    }
    sections = "\n".join(
        f"<section>\n<h2>{escape(title)}</h2>\n{part}\n</section>"
        for title, part in parts.items()
        if part
    )
    return document(content.title, f"{opening(content.question, content.answer)}\n{sections}")


def document(title: str, body: str) -> str:
    """A whole HTML document around `body`, which is HTML; its style is in it."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{_STYLE.read_text()}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def opening(question: str, answer: str) -> str:
    """The question where there is one, and the answer in a box."""
    asked = f'<p class="question">{escape(question)}</p>\n' if question else ""
    return f'{asked}<div class="answer"><p>{escape(answer)}</p></div>'


def paper_part(paper: Paper | None, verdicts: Sequence[Verdict], comparison: Comparison) -> str:
    """What is answered, the verdict on each claim, and the paper's values beside ours."""
    claims = "\n".join(map(_claim, verdicts))
    parts = [f'<ul class="claims">\n{claims}\n</ul>'] if claims else []
    if paper is not None:
        parts.insert(0, f"<p>Answers {escape(paper.answers)}.</p>")
        parts.append(_paper_values(paper, comparison))
    return "\n".join(filter(None, parts))


def _claim(verdict: Verdict) -> str:
    kind, claim = _KINDS.get(verdict.word, "undecided"), verdict.claim
    return (
        f'<li><span class="word {kind}">{verdict.word}</span>: {escape(claim.says)}'
        f'<br><span class="soft">{escape(claim.parameter)}, claimed: {claim.direction}; '
        f"found: {escape(verdict.reason)}</span></li>"
    )


def _paper_values(paper: Paper, comparison: Comparison) -> str:
    """The paper's numbers beside ours, also where we have none."""
    if not paper.values:
        return ""
    ours = {point.group: point.summary for point in comparison.points}
    rows = []
    for group, value in paper.values.items():
        summary = ours.get(group)
        if summary is None or summary.mean is None:
            found = ["not in this sweep" if summary is None else "no result", "", ""]
        else:
            found = [_number(summary.mean), _interval(summary.low, summary.high), f"{summary.n}"]
        rows.append([group, _number(value), *found])
    said = f'<p class="soft">Paper: {escape(paper.values_are)}.</p>\n' if paper.values_are else ""
    head = ["point", "paper", f"here: {comparison.metric.name}", "95 % interval", "seeds"]
    return said + table(head, rows, "the paper's values beside ours")


def _comparison(comparison: Comparison) -> str:
    numbers = comparison.table()
    best = comparison.ranked()[:1]
    marked = {at for at, point in enumerate(comparison.points) if point in best}
    better = "larger" if comparison.metric.goal == "maximize" else "smaller"
    return (
        f'<p class="soft">{escape(comparison.metric.name)}, {better} is better: mean and standard '
        "deviation (sd) over n seeds, Student's 95 % interval of the mean (ci). The sd of a share "
        "is at least what the number of its images leaves to chance.</p>\n"
        + table(numbers.columns, numbers.printed(), "comparison of the points", marked)
    )


def _drawings(content: PageContent) -> str:
    figures = [
        f'<figure>\n<div class="drawing">{inline(drawing.svg, f"f{at}", drawing.title)}</div>\n'
        f"<figcaption>{escape(drawing.caption or drawing.title)}</figcaption>\n</figure>"
        for at, drawing in enumerate(content.drawings)
    ]
    return "\n".join([*figures, bullets(content.notes, "soft")]).strip()


def _failures(failures: Sequence[tuple[str, str]]) -> str:
    """Each traceback once, under its last line, with the trials that it ended."""
    trials: dict[str, list[str]] = {}
    for trial, traceback in failures:
        trials.setdefault(traceback.strip(), []).append(trial)
    return "\n".join(
        f"<details>\n<summary>{len(names)}x {escape(traceback.rpartition(chr(10))[2])}</summary>\n"
        f"<p>{escape(', '.join(names))}</p>\n<pre>{escape(traceback)}</pre>\n</details>"
        for traceback, names in trials.items()
    )


def _forecasts(forecasts: Sequence[Foreseen]) -> str:
    rows = [
        [f.name, f.unit, _number(f.forecast), *_became(f.forecast, f.actual)] for f in forecasts
    ]
    head = ["quantity", "unit", "forecast", "actual", "actual / forecast"]
    return table(head, rows, "forecast against actual") if rows else ""


def _became(forecast: float, actual: float | None) -> list[str]:
    if actual is None:
        return ["not measured", ""]
    return [_number(actual), f"{actual / forecast:.2f}x" if forecast else ""]


def _how_run(texts: Mapping[str, str]) -> str:
    pairs = "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in texts.items())
    return f"<dl>\n{pairs}\n</dl>" if pairs else ""


def _number(value: float) -> str:
    return f"{value:.4g}"


def _interval(low: float | None, high: float | None) -> str:
    return "one seed" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"
