"""What a sweep varies: dotted keys of an experiment and the values that each takes in turn."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from pg_platform.config.errors import Problem, closest
from pg_platform.config.experiment import CUSTOM, Experiment, is_option
from pg_platform.config.overrides import PARAMETERS, blocked
from pg_platform.config.validation import dotted_keys, findings
from pg_platform.config.yaml_tree import (
    Branch,
    Items,
    KeyPath,
    Node,
    at,
    branch_at,
    dotted,
    plain,
    shown,
)
from pg_platform.sweep.schema import Varied

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


NOT_VARIED = {
    "seed": "seeds have a key of their own; write `seeds: 3` or `seeds: [0, 1, 2]`",
    "resources": "decides no result; write `resources` at the top of the sweep",
    "checkpoints": "decides no result; write it under `experiment`",
    "data.loader_processes": "decides no result; write it under `experiment`",
    "validation": "all points are measured alike; write it under `experiment`",
}
"""Keys of an experiment that are no parameter, each with the reason and the remedy."""


SEARCHES = ("random", "bayes")
"""The methods that draw from ranges."""


@dataclass(frozen=True, eq=False)
class Parameter:
    """A dotted key of an experiment, and its values as the file has them.

    Those of a range are its two ends, or what was drawn from it.
    """

    key: str
    nodes: tuple[Node, ...]
    values: tuple[Any, ...]
    range: Range | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The key in parts."""
        return tuple(self.key.split("."))

    def path(self, index: int, *inside: str | int) -> KeyPath:
        """Where a sweep file has the value with this index, or a part inside it."""
        if self.range is None:
            return (PARAMETERS, self.key, "values", index, *inside)
        end = ("min", "max")[index] if self.values == self.range.ends else None
        return (PARAMETERS, self.key, *([end] if end else []))

    def hashable(self, index: int) -> Hashable:
        """What is equal for values that are equal."""
        return hashable(self.values[index])


def parameters(
    root: Branch, base: Branch, problems: list[Problem], method: str
) -> Iterator[Parameter]:
    """The parameters in the sweep file `root` that can be varied in its experiment `base`.

    Why others cannot is appended to `problems`, except what the schema of a sweep says anyway.
    """
    if (block := branch_at(root, (PARAMETERS,))) is None:
        return
    for key, node in block.values.items():
        if (reason := _reason(key, block, base)) is not None:
            problems.append(Problem(block.keys[key], f"{PARAMETERS}.{key}", reason))
        elif isinstance(node, Branch) and not findings(Varied, node):
            if (parameter := _parameter(key, node)).range is not None and method not in SEARCHES:
                why = "a range has no place here; write values, or method: random or bayes"
                problems.append(Problem(node.place, f"{PARAMETERS}.{key}", why))
                continue
            problems += _repeats(parameter)
            yield parameter


def _parameter(key: str, node: Branch) -> Parameter:
    if isinstance(values := at(node, ("values",)), Items):
        return Parameter(key, values.items, plain(values))
    span = Range.of(Varied.model_validate(plain(node)))
    return Parameter(key, (node.values["min"], node.values["max"]), span.ends, span)


def unvaried(key: str) -> str | None:
    """Why no sweep can vary `key`, None where one can."""
    for banned, reason in NOT_VARIED.items():
        if f"{key}.".startswith(f"{banned}."):
            return reason
    known = list(dict.fromkeys(dotted_keys(Experiment)))
    if any(key in (f"{each}.target", f"{each}.folder", f"{each}.source") for each in CUSTOM):
        section = key.rpartition(".")[0]
        return f"belongs to its class; vary {section}, with {{kind: custom, target: ...}} as values"
    if key in known or is_option(key):
        return None
    near = closest(key, [name for name in known if name not in NOT_VARIED])
    return "no such key in an experiment" + (f"; did you mean '{near}'?" if near else "")


def _reason(key: str, block: Branch, base: Branch) -> str | None:
    """Why `key` cannot be varied in `base`, None where it can."""
    if (reason := unvaried(key)) is not None:
        return reason
    for other in block.values:
        if key.startswith(f"{other}."):
            return f"lies inside {other}, which is a parameter too; keep one of them"
    obstacle = blocked(base, key.split("."), block.place)
    return obstacle and obstacle.message


def _repeats(parameter: Parameter) -> Iterator[Problem]:
    seen = set()
    for index, node in enumerate(parameter.nodes):
        if (value := parameter.hashable(index)) in seen:
            where = dotted(parameter.path(index))
            yield Problem(node.place, where, f"given twice, got {shown(node)}")
        seen.add(value)


def hashable(value: Any) -> Hashable:
    """Equal for equal values: 1 and 1.0 are, 1 and true are not."""
    match value:
        case dict():
            return frozenset((key, hashable(inner)) for key, inner in value.items())
        case tuple() | list():
            return tuple(hashable(item) for item in value)
    return (isinstance(value, bool), value)
