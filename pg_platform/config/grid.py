"""The points of a grid, each checked as the experiment that it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pg_platform.config.experiment import Experiment
from pg_platform.config.findings import Finding, findings, without
from pg_platform.config.layers import PARAMETERS, graft
from pg_platform.config.parameters import Parameter
from pg_platform.config.problems import Place, Problem
from pg_platform.config.tree import Branch, Path, dotted, key_place, place_of, plain, shown

MOST_POINTS = 100_000


@dataclass(frozen=True)
class Point:
    """One choice of values, and the experiment (of seed 0) that it gives."""

    indices: tuple[int, ...]
    values: dict[str, Any]
    experiment: Experiment


class Grid:
    """All choices of the parameters of the sweep file `root`, over its experiment `base`."""

    def __init__(self, root: Branch, base: Branch, parameters: Sequence[Parameter]) -> None:
        self.root = root
        self.base = base
        self.parameters = parameters

    def points(self, problems: list[Problem]) -> list[Point]:
        """The points in the order of the file, the last parameter fastest.

        What makes a point no experiment is appended to `problems`, once however many points
        have it. So are two points that give one experiment.
        """
        if (count := math.prod(len(p.values) for p in self.parameters)) > MOST_POINTS:
            place = place_of(self.root, (PARAMETERS,))
            wanted = f"wants at most {MOST_POINTS} points, got {count}"
            problems.append(Problem(place, PARAMETERS, wanted))
            return []
        shared = plain(self.base)
        try:
            points = [self._point(indices, shared) for indices in self._choices()]
        except ValidationError:
            problems += self._faults()
            return []
        problems += self._repeats(points)
        return points

    def _choices(self) -> Iterator[tuple[int, ...]]:
        return itertools.product(*(range(len(p.values)) for p in self.parameters))

    def _chosen(self, indices: tuple[int, ...]) -> Iterator[tuple[Parameter, int]]:
        return zip(self.parameters, indices, strict=True)

    def _point(self, indices: tuple[int, ...], data: dict[str, Any]) -> Point:
        values = {parameter.key: parameter.values[i] for parameter, i in self._chosen(indices)}
        for parameter in self.parameters:
            data = _with(data, parameter.keys, values[parameter.key])
        return Point(indices, values, Experiment.model_validate(data))

    def _faults(self) -> Iterable[Problem]:
        """What is wrong with any point: each fault once, named by the first point that has it.

        A value that is bad in itself, or a bad part of the base, is left out of later points, so
        that it hides nothing there.
        """
        faults: dict[tuple[Place, str], Problem] = {}
        base, base_faults = self.base, list[Path]()
        bad: set[tuple[Parameter, int]] = set()
        rivals = {p.keys for p in self.parameters} if len(self.parameters) > 1 else set()
        for indices in self._choices():
            tree = base
            for parameter, i in self._chosen(indices):
                if (parameter, i) not in bad:
                    tree = graft(tree, parameter.keys, parameter.nodes[i])
            left_out = [choice[0].keys for choice in self._chosen(indices) if choice in bad]
            for finding in findings(Experiment, tree, [*base_faults, *left_out]):
                problem = self._problem(finding, tree, indices)
                fault = (problem.place, problem.message)
                owners = [self._owner(path, indices) for path in finding.paths]
                if not any(owners):
                    base_faults += finding.paths
                    base = without(base, finding.paths)
                elif finding.also or (finding.unknown and finding.path in rivals):
                    named = f"{problem.message} (in the point {self._name(indices)})"
                    problem = problem._replace(message=named)
                if not finding.also:
                    bad.update(owner for owner in owners if owner is not None)
                faults.setdefault(fault, problem)
        return faults.values()

    def _problem(self, finding: Finding, tree: Branch, indices: tuple[int, ...]) -> Problem:
        """The finding at the first value of a parameter that takes part, else in the base."""
        for path in finding.paths:
            if (owner := self._owner(path, indices)) is None:
                continue
            parameter, index = owner
            way = parameter.path(index, *path[len(parameter.keys) :])
            if finding.unknown and path == parameter.keys:
                way = (PARAMETERS, parameter.key)
            place = (key_place if finding.unknown else place_of)(self.root, way)
            fault = "" if path == finding.path else f"{dotted(finding.path)} "
            return Problem(place, dotted(way), fault + finding.message)
        problem = finding.problem(tree)
        prefix = "" if finding.path[:1] == ("resources",) else "experiment."
        return problem._replace(key=prefix + problem.key)

    def _owner(self, path: Path, indices: tuple[int, ...]) -> tuple[Parameter, int] | None:
        """The parameter that has its value at `path`, and the index of that value."""
        for parameter, i in self._chosen(indices):
            if path[: len(parameter.keys)] == parameter.keys:
                return parameter, i
        return None

    def _repeats(self, points: Sequence[Point]) -> Iterator[Problem]:
        """Two points that give one experiment would be one run under two names."""
        seen: dict[Experiment, Point] = {}
        for point in points:
            first = seen.setdefault(point.experiment, point)
            for (parameter, i), j in zip(self._chosen(point.indices), first.indices, strict=True):
                if parameter.hashable(i) != parameter.hashable(j):
                    path = parameter.path(i)
                    message = f"gives the experiment of the point {self._name(first.indices)} again"
                    yield Problem(place_of(self.root, path), dotted(path), message)
                    break

    def _name(self, indices: tuple[int, ...]) -> str:
        return ", ".join(f"{p.key}={shown(p.nodes[i])}" for p, i in self._chosen(indices))


def _with(values: dict[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of nested dicts with `value` at `keys`; what is not on the way is shared."""
    first, *rest = keys
    inner = _with(values.get(first, {}), rest, value) if rest else value
    return {**values, first: inner}
