"""What a search that learns from its trials may choose from."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from pg_platform.config.errors import ConfigError, Problem, meant, refuse
from pg_platform.config.yaml_tree import Leaf, place_of, plain
from pg_platform.sweep.constraints import UndecidedError
from pg_platform.sweep.grid import MOST_POINTS, Choice, Grid, Point
from pg_platform.sweep.parameters import Parameter, Range, hashable


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


CONTEXTS = 200
"""Combinations of other values in which each value is tried."""


DRAWS_A_SAMPLE = 200
"""After so many draws for each sample no more distinct points are looked for."""


def drawn(
    grid: Grid, samples: int, seed: int, problems: list[Problem]
) -> tuple[Grid, list[Choice]]:
    """`samples` distinct choices of a grid with the values drawn, the same for equal seeds.

    Appended to `problems`: that there are not so many.
    """
    source = random.Random(seed)
    ranged = any(parameter.range for parameter in grid.parameters)
    if not ranged and math.prod(len(c) for _, c in grid.axes) <= MOST_POINTS:
        every = grid.all_choices(problems)
        if len(every) >= samples:
            return grid, source.sample(every, samples)
        problems += _too_few(grid, samples, f"there are {len(every)}") if every else []
        return grid, []
    grid = _with_draws(grid, source, DRAWS_A_SAMPLE * samples)
    found = dict[tuple[object, ...], Choice]()
    for draw in range(DRAWS_A_SAMPLE * samples):
        raw = [
            source.choice(c) if not grid.parameters[at[0]].range else draw for at, c in grid.axes
        ]
        if (choice := grid.ruled(grid.joined(raw))) is not None:
            found.setdefault(_identity(grid, choice), choice)
        if len(found) == samples:
            return grid, list(found.values())
    count = f"{len(found)} were found in {DRAWS_A_SAMPLE * samples} draws"
    problems += _too_few(grid, samples, count)
    return grid, []


def tried(grid: Grid, problems: list[Problem]) -> list[Choice]:
    """For each value a choice that has it, an experiment if one of CONTEXTS others makes one.

    A value that is left out in all of them is in none. Appended to `problems`: that all are.
    """
    shared, source = plain(grid.base), random.Random(0)
    chosen = list[Choice]()
    for together, indices in grid.axes:
        for index in indices:
            having = _contexts(grid, together, index, source)
            kept = [c for c in having if any(c[position] is not None for position in together)]
            if not kept:
                continue
            chosen.append(next((c for c in kept if _is_experiment(grid, c, shared)), kept[0]))
    if not grid.parameters:
        return [()]
    if not chosen:
        place = place_of(grid.root, ("exclude",))
        problems.append(Problem(place, "exclude", "leaves no point; exclude less"))
    return list(dict.fromkeys(chosen))


def _contexts(
    grid: Grid, together: tuple[int, ...], index: int, source: random.Random
) -> Iterator[Choice]:
    """Choices with one value, first those of the others' first values, then any."""
    for attempt in range(CONTEXTS):
        raw = [source.choice(c) if attempt else 0 for _, c in grid.axes]
        raw = [index if at == together else n for n, (at, _) in zip(raw, grid.axes, strict=True)]
        if (choice := grid.ruled(grid.joined(raw))) is not None:
            yield choice


def _is_experiment(grid: Grid, choice: Choice, shared: dict[str, object]) -> bool:
    try:
        grid.point(choice, shared)
    except ValidationError:
        return False
    return True


def _with_draws(grid: Grid, source: random.Random, count: int) -> Grid:
    """The grid with `count` draws in place of each range."""
    parameters = []
    for parameter in grid.parameters:
        if parameter.range is not None:
            values = tuple(parameter.range.draw(source) for _ in range(count))
            place = parameter.nodes[0].place
            nodes = tuple(Leaf(place, repr(value), value) for value in values)
            parameter = replace(parameter, nodes=nodes, values=values)
        parameters.append(parameter)
    return Grid(grid.root, grid.base, parameters, grid.rules)


def _identity(grid: Grid, choice: Choice) -> tuple[object, ...]:
    pairs = zip(grid.parameters, choice, strict=True)
    return tuple(None if index is None else p.hashable(index) for p, index in pairs)


def _too_few(grid: Grid, samples: int, count: str) -> Sequence[Problem]:
    place = place_of(grid.root, ("samples",))
    return [Problem(place, "samples", f"wants fewer distinct points, {count}, got {samples}")]
