"""What became of a paper's claims in a collection of sweeps, as one HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pg_platform.report.comparison import Comparison
from pg_platform.report.page import PageTable, paper_values, rendered
from pg_platform.report.paper_claims import Verdict
from pg_platform.report.summary import answer
from pg_platform.store.codes import mixture
from pg_platform.sweep.schema import Paper


@dataclass(frozen=True)
class SweepEntry:
    """One sweep of the collection, with the MLflow run on which its own page stands."""

    name: str
    question: str
    paper: Paper | None
    comparison: Comparison
    verdicts: Sequence[Verdict]
    run_id: str
    caveats: Sequence[str] = ()

    @property
    def answer(self) -> str:
        """What the sweep says, after a warning where its results come from several codes."""
        return " ".join(filter(None, [mixture(self.comparison.codes), answer(self.comparison)]))

    @property
    def paper_values(self) -> PageTable | None:
        """The paper's numbers beside ours."""
        return paper_values(self.paper, self.comparison)


def reproduction(title: str, entries: Sequence[SweepEntry], missing: Sequence[str] = ()) -> str:
    """One HTML document that loads nothing: all claims at a glance, then sweep by sweep.

    `missing` are the sweeps of the collection that have no run yet. Texts are plain.
    """
    return rendered(
        "reproduction.html",
        title=title,
        tally=tally(entries),
        notes=[f"{name} was not run yet." for name in missing],
        glance=_at_a_glance(entries),
        entries=entries,
    )


def tally(entries: Sequence[SweepEntry]) -> str:
    """How many claims the sweeps bear out, in a sentence."""
    words = Counter(verdict.word for entry in entries for verdict in entry.verdicts)
    told = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    kinds = f"{words.total()} claims: {told}." if words else "No claim is judged."
    return f"{len(entries)} sweeps. {kinds}"


def _at_a_glance(entries: Sequence[SweepEntry]) -> PageTable:
    rows = [
        [entry.paper.answers if entry.paper else "", entry.name, verdict.claim.says, verdict.word]
        for entry in entries
        for verdict in entry.verdicts
    ]
    return PageTable(["paper", "sweep", "claim", "verdict"], rows, "the claims and their verdicts")
