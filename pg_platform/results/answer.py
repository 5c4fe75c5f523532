"""What a comparison says, in a few sentences that its numbers bear out."""

from __future__ import annotations

from collections.abc import Sequence

from pg_platform.results.paired import FEWEST, told
from pg_platform.results.points import Contrast, Point
from pg_platform.results.tables import Comparison


def answer(comparison: Comparison) -> str:
    """Whether anything was learned, how far the sweep is, the best point, what it is told apart
    from, the worst."""
    ranked, name = comparison.ranked(), comparison.metric.name
    if not ranked:
        said = ["No result yet."]
    elif len(ranked) == 1:
        said = [f"{ranked[0].group} has {name} {_result(ranked[0], comparison)}."]
    else:
        best, worst = ranked[0], ranked[-1]
        said = [
            f"{best.group} is best in {name}: {_result(best, comparison)}.",
            *_separations(ranked, comparison),
            f"{worst.group} is worst: {_result(worst, comparison)}.",
        ]
    return " ".join([*comparison.cautions, *_progress(comparison), *said])


def _progress(comparison: Comparison) -> list[str]:
    """Nothing where all trials gave a result."""
    points = comparison.points
    done = sum(point.summary.n for point in points)
    counts = {
        "failed": sum(point.failed for point in points),
        "infeasible": sum(point.infeasible for point in points),
        "pruned": sum(point.pruned for point in points),
        "never reached the threshold": sum(point.unreached for point in points),
    }
    total = done + sum(counts.values()) + sum(point.open for point in points)
    if done == total:
        return []
    rest = "".join(f", {count} {word}" for word, count in counts.items() if count)
    word = "gave a result" if counts["never reached the threshold"] else "finished"
    return [f"{done} of {total} trials {word}{rest}."]


def _result(point: Point, comparison: Comparison) -> str:
    summary = point.summary
    assert summary.mean is not None, "only points with a result are told"
    said = f"{summary.mean:.3g}"
    if summary.low is None or summary.high is None:
        said += " (one seed, no interval)"
    else:
        said += f" [{summary.low:.3g}, {summary.high:.3g}] over {summary.n} seeds"
    if comparison.chance is not None:
        said += f", {summary.mean / comparison.chance:.3g}x chance"
    return said


def _separations(ranked: Sequence[Point], comparison: Comparison) -> list[str]:
    """The best point against the baseline, and the next against the best."""
    best, second, baseline = ranked[0], ranked[1], comparison.baseline
    said = []
    if best == baseline:
        said.append("It is the baseline.")
    elif not baseline.summary.n:
        said.append(f"The baseline {baseline.group} has no result.")
    else:
        found = comparison.against(baseline)[best.group]
        said.append(_versus(best.group, f"the baseline {baseline.group}", found))
    if second != baseline:
        next_to_it = comparison.against(best)[second.group]
        said.append(_versus(f"The next, {second.group},", best.group, next_to_it))
    return said


def _versus(point: str, reference: str, found: Contrast) -> str:
    """A sentence on `point` less `reference`."""
    match found.verdict:
        case "too few seeds":
            few = "one seed" if found.difference.n == 1 else f"{found.difference.n} seeds"
            return f"{point} and {reference} share {few}; a verdict wants {FEWEST}."
        case "no spread":
            return (
                f"{point} and {reference} differ by {found.difference.mean:.3g} in every seed: "
                "there is no spread to judge that by."
            )
        case "no shared seed":
            return f"{point} and {reference} have no finished seed in common."
        case "not distinguishable":
            return f"{point} is not distinguishable from {reference}: {_numbers(found)}."
    return f"{point} is {found.verdict} than {reference}: {_numbers(found)}."


def _numbers(found: Contrast) -> str:
    of = found.difference
    assert found.p is not None, "only what was tested is told with numbers"
    interval = "" if of.low is None or of.high is None else f" [{of.low:.3g}, {of.high:.3g}]"
    return (
        f"difference {of.mean:.3g}{interval} over {of.n} paired seeds, corrected p {told(found.p)}"
    )
