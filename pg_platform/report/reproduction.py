"""What became of a paper's claims in a collection of sweeps, as one HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pg_platform.report.comparison import Comparison
from pg_platform.report.page import bullets, document, opening, paper_part, table
from pg_platform.report.paper_claims import Verdict
from pg_platform.report.summary import answer
from pg_platform.store.codes import mixture
from pg_platform.sweep.schema import Paper


@dataclass(frozen=True)
class Entry:
    """One sweep of the collection, with the MLflow run on which its own page stands."""

    name: str
    question: str
    paper: Paper | None
    comparison: Comparison
    verdicts: Sequence[Verdict]
    run_id: str
    caveats: Sequence[str] = ()


def reproduction(title: str, entries: Sequence[Entry], missing: Sequence[str] = ()) -> str:
    """One HTML document that loads nothing: all claims at a glance, then sweep by sweep.

    `missing` are the sweeps of the collection that have no run yet. Texts are plain.
    """
    notes = [f"{name} was not run yet." for name in missing]
    parts = [
        opening("", tally(entries)),
        bullets(notes, "caveats"),
        _at_a_glance(entries),
        *map(_section, entries),
    ]
    return document(title, "\n".join(filter(None, parts)))


def tally(entries: Sequence[Entry]) -> str:
    """How many claims the sweeps bear out, in a sentence."""
    words = Counter(verdict.word for entry in entries for verdict in entry.verdicts)
    told = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    kinds = f"{words.total()} claims: {told}." if words else "No claim is judged."
    return f"{len(entries)} sweeps. {kinds}"


def _at_a_glance(entries: Sequence[Entry]) -> str:
    rows = [
        [entry.paper.answers if entry.paper else "", entry.name, verdict.claim.says, verdict.word]
        for entry in entries
        for verdict in entry.verdicts
    ]
    head = ["paper", "sweep", "claim", "verdict"]
    return table(head, rows, "the claims and their verdicts") if rows else ""


def _section(entry: Entry) -> str:
    paper = paper_part(entry.paper, entry.verdicts, entry.comparison)
    link = f'<p class="soft">MLflow run of the sweep: <code>{escape(entry.run_id)}</code></p>'
    first = mixture(entry.comparison.codes)
    said = opening(entry.question, " ".join(filter(None, [first, answer(entry.comparison)])))
    notes = bullets(list(entry.caveats), "caveats")
    parts = [f"<h2>{escape(entry.name)}</h2>", said, paper, notes, link]
    return "\n".join(["<section>", *filter(None, parts), "</section>"])
