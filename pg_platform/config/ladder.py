"""The points of a ladder: each rung changes some keys and keeps all changes below it."""

from __future__ import annotations

from collections.abc import Iterator

from pg_platform.config.errors import Problem
from pg_platform.config.experiment import Experiment
from pg_platform.config.grid import Point
from pg_platform.config.overrides import blocked, graft
from pg_platform.config.parameters import unvaried
from pg_platform.config.validation import findings
from pg_platform.config.yaml_tree import Branch, Items, Node, at, dotted, plain, shown

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
