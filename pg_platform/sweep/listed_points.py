"""Points that a sweep file names one by one."""

from __future__ import annotations

from collections.abc import Iterator

from pg_platform.config.errors import Problem
from pg_platform.config.experiment import Experiment
from pg_platform.config.overrides import blocked, graft
from pg_platform.config.validation import Finding, findings
from pg_platform.config.yaml_tree import (
    Branch,
    Items,
    KeyPath,
    Node,
    at,
    dotted,
    key_place,
    place_of,
    plain,
    shown,
)
from pg_platform.sweep.grid import Point
from pg_platform.sweep.parameters import unvaried

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


LADDER = "ladder"


RUNG = "rung"
"""What a ladder varies, in tables and in the names of trials."""


def ladder_points(root: Branch, base: Branch, problems: list[Problem]) -> list[Point]:
    """The base as it is, then each rung of the sweep file `root` on top of those before.

    What makes a rung no experiment is appended to `problems`.
    """
    rungs = at(root, (LADDER,))
    if not isinstance(rungs, Items):
        problems.append(Problem(root.place, LADDER, "is missing; a ladder is a list of changes"))
        return []
    points = list(_point(0, "as it is", base, problems))
    for number, rung in enumerate(rungs.items, start=1):
        higher = _climbed(base, rung, number, problems)
        if point := list(_point(number, _name(rung), higher, problems)):
            base = higher  # a rung that breaks is told once, and not by all those above it
        points += point
    return points


def _climbed(tree: Branch, rung: Node, number: int, problems: list[Problem]) -> Branch:
    """The tree with the changes of a rung, those that can be made."""
    if not isinstance(rung, Branch) or not rung.keys:
        message = f"wants keys of an experiment with their new values, got {shown(rung)}"
        problems.append(Problem(rung.place, dotted((LADDER, number - 1)), message))
        return tree
    for key, node in rung.values.items():
        keys, place = tuple(key.split(".")), rung.keys[key]
        obstacle = blocked(tree, keys, place)
        if (why := unvaried(key) or (obstacle and obstacle.message)) is not None:
            problems.append(Problem(place, dotted((LADDER, number - 1, key)), why))
        else:
            tree = graft(tree, keys, node)
    return tree


def _point(number: int, name: str, tree: Branch, problems: list[Problem]) -> Iterator[Point]:
    """The point, or none where the tree is no experiment."""
    if faults := findings(Experiment, tree):
        where = f" (on rung {number} of the ladder)" if number else ""
        told = [fault.problem(tree) for fault in faults]
        problems += [problem._replace(message=problem.message + where) for problem in told]
        return
    experiment = Experiment.model_validate(plain(tree))
    yield Point({RUNG: f"{number:02d} {name}"}, experiment)


def _name(rung: Node) -> str:
    if not isinstance(rung, Branch):
        return ""
    return " ".join(f"{key}={shown(node)}" for key, node in rung.values.items())
