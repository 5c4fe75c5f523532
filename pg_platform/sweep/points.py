"""The points of a sweep file, by the method that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pg_platform.config.errors import Problem, meant
from pg_platform.config.overrides import PARAMETERS
from pg_platform.config.yaml_tree import Branch, Items, Leaf, at, branch_at, plain, shown
from pg_platform.sweep.constraints import UndecidedError, read_rules
from pg_platform.sweep.grid import Grid, Point
from pg_platform.sweep.listed_points import INCLUDE, LADDER, RUNG, included, ladder_points, repeated
from pg_platform.sweep.parameters import hashable, parameters
from pg_platform.sweep.search_space import Space, drawn, tried

SEARCHED = {PARAMETERS, "zip", "exclude", "when", INCLUDE, "samples", "search_seed"}
WORDS = {
    "grid": SEARCHED - {"samples", "search_seed"},
    "random": SEARCHED,
    "bayes": SEARCHED,
    "points": {INCLUDE},
    "ladder": {LADDER},
}
"""The keys of a sweep file that say what its points are, for each method those that it reads."""

NAMES = {
    "grid": "a grid",
    "random": "a random search",
    "bayes": "a bayes search",
    "points": "a list of points",
    "ladder": "a ladder",
}
REMEDIES = {
    LADDER: "write method: ladder",
    INCLUDE: "write it as rungs",
    "samples": "write method: random or bayes",
    "search_seed": "write method: random or bayes",
}
"""What to do with a key that the method does not read, where it is not a matter of leaving out."""


@dataclass(frozen=True)
class Points:
    """The points of a sweep, what they vary, and what a search may choose from."""

    points: list[Point] = field(default_factory=list)
    varied: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    space: Space | None = None


def read_points(root: Branch, base: Branch, problems: list[Problem]) -> Points:
    """The points of the sweep file `root` over its experiment `base`.

    What is wrong is appended to `problems`; a method that there is not has no points.
    """
    node = at(root, ("method",))
    method = "grid" if node is None else plain(node)
    if not isinstance(method, str) or method not in WORDS:
        return Points()
    problems += _misplaced(root, method)
    if method == "ladder":
        points = ladder_points(root, base, problems)
        return Points(points, {RUNG: tuple(point.values[RUNG] for point in points)})
    try:
        found = _found(root, base, method, problems)
    except UndecidedError as error:
        problems.append(error.problem)
        return Points()
    extra = list(included(root, base, problems))
    if method == "points" and plain(at(root, (INCLUDE,)) or Items(root.place, ())) == ():
        why = "is missing; method: points has those that it lists"
        problems.append(Problem(root.place, INCLUDE, why))
    problems += repeated(root, found.points, extra)
    return Points(found.points + extra, _with_extra(found.varied, extra), found.space)


def baseline_problems(root: Branch, found: Points) -> Iterator[Problem]:
    """What keeps `baseline` from naming one point."""
    given = branch_at(root, ("baseline",))
    if given is None or not (found.points or found.space):
        return
    unknown = [key for key in given.values if key not in found.varied]
    for key in unknown:
        why = f"is not varied{meant(key, list(found.varied))}"
        yield Problem(given.keys[key], f"baseline.{key}", why)
    count = sum(is_named(point.values, plain(given)) for point in found.points)
    if not unknown and count != 1:
        remedy = "add keys until it is one" if count else "name a point of the sweep"
        yield Problem(
            given.place, "baseline", f"names {count} points; {remedy}, got {shown(given)}"
        )


def is_named(values: Mapping[str, Any], named: Mapping[str, Any]) -> bool:
    """Whether a point has all the values that a baseline names."""
    return all(k in values and hashable(values[k]) == hashable(v) for k, v in named.items())


def _found(root: Branch, base: Branch, method: str, problems: list[Problem]) -> Points:
    if method == "points":
        return Points()
    before = len(problems)
    varied = list(parameters(root, base, problems, method))
    grid = Grid(root, base, varied, read_rules(root, base, varied, problems))
    samples = _samples(root, method, problems)
    if method == "grid":
        points = grid.points(grid.all_choices(problems), problems)
        return Points(points, {p.key: p.values for p in varied})
    grid.points(tried(grid, problems), problems)
    if method == "bayes":
        return Points([], {p.key: () if p.range else p.values for p in varied}, Space(grid))
    block = branch_at(root, (PARAMETERS,))
    if samples is None or len(problems) > before or (block and len(block.keys) > len(varied)):
        return Points()
    grid, choices = drawn(grid, samples, _seed(root), problems)
    points = grid.points(choices, problems)
    met = {p.key: [x.values[p.key] for x in points if p.key in x.values] for p in varied}
    return Points(
        points,
        {p.key: tuple(dict.fromkeys(met[p.key])) if p.range else p.values for p in varied},
    )


def _misplaced(root: Branch, method: str) -> Iterator[Problem]:
    for key in sorted({LADDER, *SEARCHED} - WORDS[method]):
        if key not in root.keys:
            continue
        remedy = REMEDIES.get(key, "leave it out")
        if method == "ladder" and key in (PARAMETERS, INCLUDE):
            remedy = "write its values as rungs"
        elif method == "points" and key == PARAMETERS:
            remedy = "write its values under include"
        where = f"has no place in {NAMES[method]}; {remedy}"
        yield Problem(root.keys[key], key, where)


def _samples(root: Branch, method: str, problems: list[Problem]) -> int | None:
    """None where it is no number of points, which the schema of a sweep says anyway."""
    if method == "grid":
        return None
    match at(root, ("samples",)):
        case None:
            why = f"is missing; method: {method} wants a number of points"
            problems.append(Problem(root.place, "samples", why))
        case Leaf(value=int(count)) if 0 < count <= 100_000 and count is not True:
            return count
    return None


def _seed(root: Branch) -> int:
    match at(root, ("search_seed",)):
        case Leaf(value=int(seed)):
            return seed
    return 0


def _with_extra(
    varied: Mapping[str, tuple[Any, ...]], extra: Sequence[Point]
) -> dict[str, tuple[Any, ...]]:
    """What is varied with the values of `include`, each once."""
    merged = {key: list(values) for key, values in varied.items()}
    for point in extra:
        for key, value in point.values.items():
            values = merged.setdefault(key, [])
            if hashable(value) not in map(hashable, values):
                values.append(value)
    return {key: tuple(values) for key, values in merged.items()}
