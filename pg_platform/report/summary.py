"""What a comparison says, in a few sentences that its numbers bear out."""

from __future__ import annotations

from collections.abc import Sequence

from pg_platform.report.comparison import Comparison
from pg_platform.report.points import Difference, PointResult
from pg_platform.report.statistics import FEWEST, told


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


def _result(point: PointResult, comparison: Comparison) -> str:
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


def _separations(ranked: Sequence[PointResult], comparison: Comparison) -> list[str]:
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


def _versus(point: str, reference: str, found: Difference) -> str:
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


def _numbers(found: Difference) -> str:
    of = found.difference
    assert found.p is not None, "only what was tested is told with numbers"
    interval = "" if of.low is None or of.high is None else f" [{of.low:.3g}, {of.high:.3g}]"
    return (
        f"difference {of.mean:.3g}{interval} over {of.n} paired seeds, corrected p {told(found.p)}"
    )


FEW_SEEDS = 5


LEARNED = 5.0
"""Times chance from which success is taken to come from the game."""


_MOST_NAMED = 6


def caveats(comparison: Comparison, *, data: str, device: str) -> list[str]:
    """Sentences on seeds, points that nothing tells apart, failures, size and data.

    `data` is the kind of the experiment's data (`digits`, `image_folder: /data/imagenet`),
    `device` what the trials ran on (`cpu`, `cuda`).
    """
    return [
        *([] if comparison.metric.warning is None else [comparison.metric.warning]),
        *_near_chance(comparison),
        *_few_seeds(comparison),
        *_not_apart(comparison),
        *_failures(comparison),
        *_size(data, device),
    ]


def _near_chance(comparison: Comparison) -> list[str]:
    """Where the best point hardly beats guessing, no parameter can show what it does."""
    guess = comparison.chance
    best = max(
        (p.summary.mean for p in comparison.points if p.summary.mean is not None), default=None
    )
    if guess is None or best is None or best >= LEARNED * guess:
        return []
    return [
        f"The game was hardly learned: the best point has {best / guess:.2g} times the success of "
        "a guess. What is told apart here, and what is not, says little of the parameters."
    ]


def _few_seeds(comparison: Comparison) -> list[str]:
    seeds = [point.summary.n for point in comparison.points if point.summary.n]
    if not seeds or min(seeds) >= FEW_SEEDS:
        return []
    if max(seeds) == 1:
        return ["One seed per point: there is no interval, and nothing tells chance from effect."]
    number = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    verdicts = "" if max(seeds) >= FEWEST else f", and there is no verdict below {FEWEST}"
    said = f"Only {number} seeds per point: intervals are wide and take the results for normal"
    return [f"{said}{verdicts}."]


def _not_apart(comparison: Comparison) -> list[str]:
    """The points without a verdict against the best."""
    ranked = comparison.ranked()
    found = comparison.against(ranked[0]) if ranked else {}
    near = [p for p in ranked[1:] if found[p.group].verdict not in ("better", "worse")]
    if not near:
        return []
    return [f"Not distinguishable from the best, {ranked[0].group}: {_named(near)}."]


def _failures(comparison: Comparison) -> list[str]:
    said = []
    if failed := sum(point.failed for point in comparison.points):
        said.append(f"Failed or without a finite result, not in the means: {_trials(failed)}.")
    if left := sum(point.open for point in comparison.points):
        said.append(f"Not ended, so that the numbers can still change: {_trials(left)}.")
    if missing := [point for point in comparison.points if not point.summary.n]:
        said.append(f"Without any result: {_named(missing)}.")
    return said


def _size(data: str, device: str) -> list[str]:
    said = []
    if device == "cpu":
        said.append("Run on CPU, in a size that fits it: small models, few images, few epochs.")
    if "imagenet" not in data.lower():
        said.append(f"The data is {data}, not ImageNet: values do not compare with the paper's.")
    return said


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _named(points: list[PointResult]) -> str:
    names = ", ".join(point.group for point in points[:_MOST_NAMED])
    rest = len(points) - _MOST_NAMED
    return f"{names} and {rest} more" if rest > 0 else names
