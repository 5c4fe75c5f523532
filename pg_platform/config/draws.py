"""Choices of a random search, and those that try every value of a search once."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import ValidationError

from pg_platform.config.errors import Problem
from pg_platform.config.grid import MOST_POINTS, Choice, Grid
from pg_platform.config.yaml_tree import Leaf, place_of, plain

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
