"""What a reader of a sweep's result has to bear in mind, found from its numbers."""

from __future__ import annotations

from pg_platform.results.paired import FEWEST
from pg_platform.results.points import Point
from pg_platform.results.tables import Comparison

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


def _named(points: list[Point]) -> str:
    names = ", ".join(point.group for point in points[:_MOST_NAMED])
    rest = len(points) - _MOST_NAMED
    return f"{names} and {rest} more" if rest > 0 else names
