"""The range of a parameter, as a search draws from it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from pg_platform.config.sweep_file import Varied

DIGITS = 4
"""Significant digits of a drawn number, so that it reads well in the name of a trial."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both of them in it."""

    low: float
    high: float
    log: bool
    whole: bool
    step: float | None

    @classmethod
    def of(cls, varied: Varied) -> Range:
        """The range that a sweep file gives instead of values."""
        low, high = varied.min, varied.max
        assert low is not None
        assert high is not None
        written_whole = not any(isinstance(n, float) for n in (low, high, varied.q))
        kind = varied.distribution or ("int" if written_whole else "uniform")
        whole = kind.endswith("int")
        if not whole:
            low, high = float(low), float(high)
        return cls(low, high, kind.startswith("log"), whole, varied.q)

    @property
    def ends(self) -> tuple[float, float]:
        """Both of them, whole numbers where it is of whole numbers."""
        return self.low, self.high

    def draw(self, source: random.Random) -> float:
        """A number of the range; whole numbers and steps have a share of the range each."""
        half = (self.step or 1) / 2 if self.whole or self.step else 0.0
        low = self.low if self.log and half >= self.low else self.low - half
        high = self.high + half
        if self.log:
            drawn = math.exp(source.uniform(math.log(low), math.log(high)))
        else:
            drawn = source.uniform(low, high)
        return self.nearest(drawn)

    def nearest(self, drawn: float) -> float:
        """The number of the range nearest to `drawn`: on a step, else of a few digits."""
        drawn = min(max(drawn, self.low), self.high)
        if self.step is not None or self.whole:
            step = self.step or 1
            drawn = self.low + min(round((drawn - self.low) / step), self._steps()) * step
        if self.whole:
            return int(drawn)
        return min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)

    @property
    def count(self) -> int | None:
        """How many numbers it has; None where it is neither of whole numbers nor of steps."""
        return self._steps() + 1 if self.whole or self.step is not None else None

    def nth(self, n: int) -> float:
        """The number `n` steps above the lowest."""
        return self.nearest(self.low + n * (self.step or 1))

    def _steps(self) -> int:
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9)

    def holds(self, value: object) -> bool:
        """Whether `value` is a number of the range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (isinstance(value, int) or not self.whole)
