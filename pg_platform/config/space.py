"""What a search that learns from its trials may choose from."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pg_platform.config.errors import ConfigError, Problem, meant, refuse
from pg_platform.config.grid import Choice, Grid, Point
from pg_platform.config.parameters import Parameter, hashable
from pg_platform.config.ranges import Range
from pg_platform.config.rules import UndecidedError
from pg_platform.config.yaml_tree import Leaf, place_of


@dataclass(frozen=True)
class Dimension:
    """One thing to choose: one of `values`, or where there is a `range` a number of it."""

    key: str
    """The dotted key; of keys that advance together the first in the file."""
    values: tuple[Any, ...]
    range: Range | None = None

    @property
    def count(self) -> int | None:
        """How many choices there are; None for a continuous range."""
        return len(self.values) if self.range is None else self.range.count

    def nth(self, index: int) -> Any:
        """The choice with this index, where they are counted."""
        return self.values[index] if self.range is None else self.range.nth(index)

    def index(self, value: Any) -> int:
        """The index of a choice, where they are counted."""
        if self.range is not None:
            steps: float = (value - self.range.low) / (self.range.step or 1)
            return round(steps)
        return [hashable(each) for each in self.values].index(hashable(value))

    def draw(self, source: random.Random) -> Any:
        """Any choice."""
        return source.choice(self.values) if self.range is None else self.range.draw(source)


class Space:
    """The dimensions of a search, and the point that each choice of values is."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        first = [grid.parameters[together[0]] for together, _ in grid.axes]
        self.dimensions: tuple[Dimension, ...] = tuple(_dimension(parameter) for parameter in first)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.dimensions == other.dimensions

    def __hash__(self) -> int:
        return hash(tuple(dimension.key for dimension in self.dimensions))

    def point(self, values: Mapping[str, Any]) -> Point | None:
        """The point of a value for each dimension, None where `exclude` leaves it out.

        Raises ConfigError where it is no experiment, or a value is not of its dimension.
        """
        known = [dimension.key for dimension in self.dimensions]
        unknown = [f"{k}: is no dimension{meant(k, known)}" for k in values if k not in known]
        missing = [f"{key}: is missing; a point has a value of each" for key in known]
        missing = [line for key, line in zip(known, missing, strict=True) if key not in values]
        if unknown or missing:
            raise ConfigError(unknown + missing)
        grid, raw = self._chosen(values)
        problems: list[Problem] = []
        choice = self._ruled(grid, raw)
        points = [] if choice is None else grid.points([choice], problems)
        refuse(problems)
        return points[0] if points else None

    def _chosen(self, values: Mapping[str, Any]) -> tuple[Grid, list[int]]:
        """A grid of the one value of each range, and the indices of the values."""
        parameters, raw = list(self._grid.parameters), []
        for (together, _), dimension in zip(self._grid.axes, self.dimensions, strict=True):
            value, parameter = values[dimension.key], parameters[together[0]]
            raw.append(_index(parameter, value))
            if parameter.range is not None:
                place = place_of(self._grid.root, parameter.path(0)[:2])
                node = Leaf(place, repr(value), value)
                parameters[together[0]] = Parameter(
                    parameter.key, (node,), (value,), parameter.range
                )
        grid = Grid(self._grid.root, self._grid.base, parameters, self._grid.rules)
        return grid, raw

    def _ruled(self, grid: Grid, raw: list[int]) -> Choice | None:
        try:
            return grid.ruled(grid.joined(raw))
        except UndecidedError as error:
            raise ConfigError([str(error.problem)]) from None


def _index(parameter: Parameter, value: Any) -> int:
    if parameter.range is not None:
        if parameter.range.holds(value):
            return 0
        low, high = parameter.range.ends
        kind = "a whole number" if parameter.range.whole else "a number"
        raise ConfigError([f"{parameter.key}: wants {kind} from {low} to {high}, got {value!r}"])
    for index in range(len(parameter.values)):
        if parameter.hashable(index) == hashable(value):
            return index
    raise ConfigError([f"{parameter.key}: wants one of {parameter.values}, got {value!r}"])


def _dimension(parameter: Parameter) -> Dimension:
    values = parameter.values if parameter.range is None else ()
    return Dimension(parameter.key, values, parameter.range)
