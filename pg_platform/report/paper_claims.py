"""Whether a sweep bears out what a paper says of a parameter."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pg_platform.report.statistics import FEWEST, Resolution, paired
from pg_platform.sweep.schema import Claim
from pg_platform.sweep.trials import compact

Word = Literal["supported", "contradicted", "not distinguishable"]
Result = tuple[Mapping[str, Any], int, float]
"""(point, seed, value of the metric)."""


@dataclass(frozen=True)
class Verdict:
    """What a sweep says of a claim.

    `slope` is the change of the metric from one value of the parameter to the next larger, the
    mean over `n` seeds; `low` and `high` are Student's 95 % interval of it, None where there is no
    verdict: below FEWEST seeds, and where all slopes are equal and nothing is known of chance.
    Of a claimed peak `slope` is how far the best value inside, `peak`, is above the nearer end.
    """

    claim: Claim
    word: Word
    slope: float | None
    low: float | None
    high: float | None
    n: int
    peak: float | None = None

    @property
    def sentence(self) -> str:
        """The claim, the word and the numbers, as a terminal and a run's description have it."""
        claim = self.claim
        metric = f"{claim.metric} " if claim.metric else ""
        said = f"{self.word.capitalize()}: {claim.says.rstrip('.')}"
        verb = "peaks" if claim.direction == "peak" else claim.direction
        return f"{said} ({metric}{verb} with {claim.parameter}: {self.reason})."

    @property
    def reason(self) -> str:
        """The numbers behind the word, in a sentence."""
        wanted = "three" if self.claim.direction == "peak" else "two"
        if self.slope is None:
            return f"no seed has results at {wanted} values of {self.claim.parameter}"
        step = f"{self.slope:+.3g} from one value to the next larger"
        if self.peak is not None:
            step = f"{self.slope:+.3g} at {self.peak:g} over the nearer end of the range"
        if self.n < FEWEST:
            few = "one seed" if self.n == 1 else f"{self.n} seeds"
            return f"{step}; {few}, and a verdict wants {FEWEST}"
        if self.low is None or self.high is None:
            return f"{step} in each of {self.n} seeds; there is no spread to judge that by"
        return f"{step} [{self.low:+.3g}, {self.high:+.3g}] over {self.n} seeds"


def verdict(
    claim: Claim, values: Sequence[Result], resolution: Resolution | None = None
) -> Verdict:
    """The verdict of results of the claim's metric, one for each point and seed.

    For each seed, least squares give the slope of the metric against the rank of the parameter's
    value, at each combination of the other parameters; the mean of those is the seed's slope.
    "supported" where the interval over seeds lies on the claim's side of 0, "contradicted" where
    it lies on the other. Slopes vary by at least what the `resolution` of the results leaves to
    them: a slope weighs results, and varies by the sum of their variances with squared weights.
    Results that are not finite and points without the parameter do not count. Raises ValueError
    where the parameter's values are not numbers.

    A claimed peak is supported where the best value inside the range is above both ends, and
    contradicted where an end is above it. Which value is best is taken, for each seed, from the
    other seeds, so that the choice does not flatter what it is judged by; both ends have to be told
    apart, which needs no correction.
    """
    resolution = resolution or Resolution()
    known = [r for r in values if claim.parameter in r[0] and math.isfinite(r[2])]
    ranks = _ranks(claim.parameter, [point[claim.parameter] for point, _, _ in known])
    if claim.direction == "peak":
        return _peak(claim, known, sorted(ranks), resolution)
    slopes: dict[int, float] = {}
    left: list[float] = []
    for seed in sorted({seed for _, seed, _ in known}):
        lines: dict[str, list[tuple[int, float]]] = {}
        for point, _, value in (r for r in known if r[1] == seed):
            spot = ranks[point[claim.parameter]], value
            lines.setdefault(_others(point, claim.parameter), []).append(spot)
        several = [line for line in lines.values() if len({rank for rank, _ in line}) > 1]
        if several:
            slopes[seed] = statistics.fmean(map(_slope, several))
            chance = math.fsum(_left_to_chance(line, resolution) for line in several)
            left.append(chance / len(several) ** 2)
    over = paired(slopes, least_variance=statistics.fmean(left) if left else 0.0)
    word = _word(claim, over.low, over.high)
    return Verdict(claim, word, over.mean, over.low, over.high, over.n)


def _peak(
    claim: Claim, known: Sequence[Result], order: Sequence[float], resolution: Resolution
) -> Verdict:
    """The verdict on a best value of `order` that is neither its first nor its last."""
    by_seed: dict[int, dict[float, list[float]]] = {}
    for point, seed, value in known:
        by_seed.setdefault(seed, {}).setdefault(point[claim.parameter], []).append(value)
    whole = {
        seed: {at: statistics.fmean(several) for at, several in results.items()}
        for seed, results in by_seed.items()
        if results.keys() == set(order)
    }
    if len(order) < FEWEST or not whole:
        return Verdict(claim, "not distinguishable", None, None, None, 0)

    def best(seeds: Sequence[int]) -> float:
        return max(order[1:-1], key=lambda at: math.fsum(whole[seed][at] for seed in seeds))

    chosen = {seed: best([each for each in whole if each != seed] or [seed]) for seed in whole}
    chance = statistics.fmean(2 * resolution.variance(value) for _, _, value in known)
    ends = [
        paired(
            {seed: whole[seed][chosen[seed]] - whole[seed][end] for seed in whole},
            least_variance=chance * len(order) * len(whole) / len(known),
        )
        for end in (order[0], order[-1])
    ]
    nearer = min(ends, key=lambda end: end.mean or 0.0)
    word: Word = "not distinguishable"
    if all(end.low is not None and end.low > 0 for end in ends):
        word = "supported"
    elif any(end.high is not None and end.high < 0 for end in ends):
        word = "contradicted"
    peak = best(list(whole))
    return Verdict(claim, word, nearer.mean, nearer.low, nearer.high, nearer.n, peak)


def _ranks(parameter: str, values: Sequence[Any]) -> dict[Any, int]:
    for value in values:
        if not isinstance(value, int | float):
            raise ValueError(
                f"a claim about {parameter} wants values that are numbers, got {value!r}; "
                "only numbers increase"
            )
    return {value: rank for rank, value in enumerate(sorted(set(values)))}


def _others(point: Mapping[str, Any], parameter: str) -> str:
    """The combination of the other parameters, as a text."""
    return " ".join(f"{key}={compact(point[key])}" for key in sorted(point) if key != parameter)


def _slope(line: Sequence[tuple[int, float]]) -> float:
    """The slope by least squares, of spots of several ranks."""
    mean = statistics.fmean(value for _, value in line)
    pairs = zip(_weights(line), line, strict=True)
    return math.fsum(weight * (value - mean) for weight, (_, value) in pairs)


def _left_to_chance(line: Sequence[tuple[int, float]], resolution: Resolution) -> float:
    """The least variance of the slope."""
    pairs = zip(_weights(line), line, strict=True)
    return math.fsum(weight**2 * resolution.variance(value) for weight, (_, value) in pairs)


def _weights(line: Sequence[tuple[int, float]]) -> list[float]:
    """What the slope by least squares makes of each value."""
    middle = statistics.fmean(rank for rank, _ in line)
    square = math.fsum((rank - middle) ** 2 for rank, _ in line)
    return [(rank - middle) / square for rank, _ in line]


def _word(claim: Claim, low: float | None, high: float | None) -> Word:
    if low is None or high is None or low <= 0 <= high:
        return "not distinguishable"
    risen: bool = low > 0
    return "supported" if risen == (claim.direction == "increases") else "contradicted"
