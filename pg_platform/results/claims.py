"""Whether a sweep bears out what a paper says of a parameter."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pg_platform.config.plan import compact
from pg_platform.config.sweep_file import Claim
from pg_platform.results.statistics import summarise

Word = Literal["supported", "contradicted", "not distinguishable"]
Result = tuple[Mapping[str, Any], int, float]
"""(point, seed, value of the metric)."""


@dataclass(frozen=True)
class Verdict:
    """What a sweep says of a claim.

    `slope` is the change of the metric from one value of the parameter to the next larger, the
    mean over `n` seeds; `low` and `high` are Student's 95 % interval of it, None below two seeds.
    """

    claim: Claim
    word: Word
    slope: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def reason(self) -> str:
        """The numbers behind the word, in a sentence."""
        if self.slope is None:
            return f"no seed has results at two values of {self.claim.parameter}"
        step = f"{self.slope:+.3g} from one value to the next larger"
        if self.low is None or self.high is None:
            return f"{step}; one seed, no interval"
        return f"{step} [{self.low:+.3g}, {self.high:+.3g}] over {self.n} seeds"


def verdict(claim: Claim, values: Sequence[Result]) -> Verdict:
    """The verdict of results of the claim's metric, one for each point and seed.

    For each seed, least squares give the slope of the metric against the rank of the parameter's
    value, at each combination of the other parameters; the mean of those is the seed's slope.
    "supported" where the interval over seeds lies on the claim's side of 0, "contradicted" where
    it lies on the other. Results that are not finite and points without the parameter do not
    count. Raises ValueError where the parameter's values are not numbers.
    """
    known = [r for r in values if claim.parameter in r[0] and math.isfinite(r[2])]
    ranks = _ranks(claim.parameter, [point[claim.parameter] for point, _, _ in known])
    slopes = []
    for seed in sorted({seed for _, seed, _ in known}):
        lines: dict[str, list[tuple[int, float]]] = {}
        for point, _, value in (r for r in known if r[1] == seed):
            spot = ranks[point[claim.parameter]], value
            lines.setdefault(_others(point, claim.parameter), []).append(spot)
        several = [slope for line in lines.values() if (slope := _slope(line)) is not None]
        if several:
            slopes.append(statistics.fmean(several))
    over = summarise(slopes)
    word = _word(claim, over.low, over.high)
    return Verdict(claim, word, over.mean, over.low, over.high, over.n)


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


def _slope(line: Sequence[tuple[int, float]]) -> float | None:
    """The slope by least squares; None where all spots have one rank."""
    ranks, values = zip(*line, strict=True)
    if len(set(ranks)) == 1:
        return None
    middle, mean = statistics.fmean(ranks), statistics.fmean(values)
    above = math.fsum((x - middle) * (y - mean) for x, y in line)
    return above / math.fsum((x - middle) ** 2 for x in ranks)


def _word(claim: Claim, low: float | None, high: float | None) -> Word:
    if low is None or high is None or low <= 0 <= high:
        return "not distinguishable"
    risen: bool = low > 0
    return "supported" if risen == (claim.direction == "increases") else "contradicted"
