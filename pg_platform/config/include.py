"""Points that a sweep file names one by one."""

from __future__ import annotations

from collections.abc import Iterator

from pg_platform.config.errors import Problem
from pg_platform.config.experiment import Experiment
from pg_platform.config.grid import Point
from pg_platform.config.overrides import blocked, graft
from pg_platform.config.parameters import unvaried
from pg_platform.config.validation import Finding, findings
from pg_platform.config.yaml_tree import (
    Branch,
    Items,
    KeyPath,
    at,
    dotted,
    key_place,
    place_of,
    plain,
    shown,
)

INCLUDE = "include"


def included(root: Branch, base: Branch, problems: list[Problem]) -> Iterator[Point]:
    """The points in `include` of the sweep file `root`, over its experiment `base`.

    What makes one no experiment is appended to `problems`, except what the schema says anyway.
    """
    listed = at(root, (INCLUDE,))
    for index, node in enumerate(listed.items if isinstance(listed, Items) else ()):
        if not isinstance(node, Branch):
            continue
        before, tree = len(problems), base
        for key, value in node.values.items():
            obstacle = blocked(base, key.split("."), node.keys[key])
            if (why := unvaried(key) or (obstacle and obstacle.message)) is not None:
                problems.append(Problem(node.keys[key], dotted((INCLUDE, index, key)), why))
            else:
                tree = graft(tree, key.split("."), value)
        problems += [_told(f, root, tree, index, node) for f in findings(Experiment, tree)]
        if len(problems) == before:
            yield Point(plain(node), Experiment.model_validate(plain(tree)))


def repeated(root: Branch, points: list[Point], extra: list[Point]) -> Iterator[Problem]:
    """Points of `include` that there are already."""
    seen = {point.experiment: point for point in points}
    for index, point in enumerate(extra):
        first = seen.setdefault(point.experiment, point)
        if first is not point:
            where = (INCLUDE, index)
            name = ", ".join(f"{key}={value!r}" for key, value in first.values.items()) or "base"
            why = f"gives the experiment of the point {name} again"
            yield Problem(place_of(root, where), dotted(where), why)


def _told(finding: Finding, root: Branch, tree: Branch, index: int, node: Branch) -> Problem:
    """The finding at the first key of the point that takes part, else in the base."""
    for path in finding.paths:
        for key in node.values:
            keys: KeyPath = tuple(key.split("."))
            if path[: len(keys)] != keys:
                continue
            way = (INCLUDE, index, key, *path[len(keys) :])
            place = (key_place if finding.unknown else place_of)(root, way)
            fault = "" if path == finding.path else f"{dotted(finding.path)} "
            inside = f" (in the point {shown(node)})" if finding.also else ""
            return Problem(place, dotted(way), fault + finding.message + inside)
    problem = finding.problem(tree)
    prefix = "" if finding.path[:1] == ("resources",) else "experiment."
    return problem._replace(key=prefix + problem.key)
