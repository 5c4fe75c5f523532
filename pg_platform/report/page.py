"""The result of a sweep as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pg_platform.report.comparison import Comparison
from pg_platform.report.paper_claims import Verdict
from pg_platform.sweep.schema import Paper

_BEFORE = re.compile(r".*?(?=<svg\b)", re.DOTALL)


_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


_ROOT = re.compile(r"<svg\b[^>]*>")


_SIZE = re.compile(r'\s(?:width|height)="[^"]*"')


_ID = re.compile(r'(\sid="|url\(#|href="#)')


def inline(svg: str, prefix: str, label: str) -> str:
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
    return _ID.sub(rf"\g<1>{prefix}-", opened + text[root.end() :]).strip()


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    label: str,
    bold: Iterable[int] = (),
) -> str:
    """A table in a box of its own that scrolls, by finger, wheel or keys; rows `bold` stand out."""
    best = set(bold)
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(_row(row, "best" if at in best else "plain") for at, row in enumerate(rows))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def bullets(sentences: Iterable[str], kind: str) -> str:
    """A list of the class `kind`; nothing where there are no sentences."""
    items = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">\n{items}\n</ul>' if items else ""


def _row(cells: Sequence[str], kind: str) -> str:
    return f'<tr class="{kind}">' + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>"


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
