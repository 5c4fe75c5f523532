"""What a comparison says, in a few sentences that its numbers bear out."""

from __future__ import annotations

from pg_platform.results.statistics import overlap
from pg_platform.results.tables import Comparison, Point


def answer(comparison: Comparison) -> str:
    """How far the sweep is, the best point, whether it stands out from the next, the worst."""
    ranked, name = comparison.ranked(), comparison.metric.name
    if not ranked:
        said = ["No result yet."]
    elif len(ranked) == 1:
        said = [f"{ranked[0].group} has {name} {_result(ranked[0], comparison)}."]
    else:
        best, second, worst = ranked[0], ranked[1], ranked[-1]
        said = [
            f"{best.group} is best in {name}: {_result(best, comparison)}.",
            _separation(best, second),
            f"{worst.group} is worst: {_result(worst, comparison)}.",
        ]
    return " ".join([*_progress(comparison), *said])


def _progress(comparison: Comparison) -> list[str]:
    """Nothing where all trials gave a result."""
    done = sum(point.summary.n for point in comparison.points)
    failed = sum(point.failed for point in comparison.points)
    total = done + failed + sum(point.open for point in comparison.points)
    if done == total:
        return []
    return [f"{done} of {total} trials finished{f', {failed} failed' if failed else ''}."]


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


def _separation(best: Point, second: Point) -> str:
    match overlap(best.summary, second.summary):
        case True:
            return f"It and {second.group} are not separated by their intervals."
        case False:
            return f"Its interval lies apart from that of the next, {second.group}."
        case None:
            return f"The next is {second.group}; without two intervals nothing separates them."
