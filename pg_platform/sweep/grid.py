"""The points of a grid, each checked as the experiment that it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pg_platform.config.errors import Place, Problem
from pg_platform.config.experiment import Experiment
from pg_platform.config.overrides import PARAMETERS, graft
from pg_platform.config.validation import Finding, findings, without
from pg_platform.config.yaml_tree import Branch, KeyPath, dotted, key_place, place_of, plain, shown
from pg_platform.sweep.constraints import Rules, with_value
from pg_platform.sweep.parameters import Parameter

MOST_POINTS = 100_000


Choice = tuple[int | None, ...]
"""For each parameter the index of its value, or None where `when` leaves it at the base's."""


@dataclass(frozen=True)
class Point:
    """One choice of values, and the experiment (of seed 0) that it gives."""

    values: dict[str, Any]
    experiment: Experiment


class Grid:
    """Choices of the parameters of the sweep file `root`, over its experiment `base`."""

    def __init__(
        self, root: Branch, base: Branch, parameters: Sequence[Parameter], rules: Rules
    ) -> None:
        self.root = root
        self.base = base
        self.parameters = parameters
        self.rules = rules
        self.axes = self._axes()

    def all_choices(self, problems: list[Problem]) -> list[Choice]:
        """All that are points, in the order of the file, the last parameter fastest."""
        if (count := math.prod(len(choices) for _, choices in self.axes)) > MOST_POINTS:
            place = place_of(self.root, (PARAMETERS,))
            wanted = f"wants at most {MOST_POINTS} points, got {count}"
            problems.append(Problem(place, PARAMETERS, wanted))
            return []
        combined = (
            self.joined(indices) for indices in itertools.product(*(c for _, c in self.axes))
        )
        made = [choice for raw in combined if (choice := self.ruled(raw)) is not None]
        if not made:
            place = place_of(self.root, ("exclude",))
            problems.append(Problem(place, "exclude", "leaves no point; exclude less"))
        return list(dict.fromkeys(made))

    def _axes(self) -> list[tuple[tuple[int, ...], range]]:
        """The positions of the parameters that advance together, and the indices they take."""
        axes = []
        for position, parameter in enumerate(self.parameters):
            group = next((g for g in self.rules.groups if parameter.key in g), (parameter.key,))
            together = tuple(n for n, p in enumerate(self.parameters) if p.key in group)
            if together[0] == position:
                axes.append((together, range(len(parameter.values))))
        return axes

    def joined(self, indices: Sequence[int]) -> tuple[int, ...]:
        """An index for each parameter from one for each axis."""
        spread = {
            position: index
            for (together, _), index in zip(self.axes, indices, strict=True)
            for position in together
        }
        return tuple(spread[position] for position in range(len(self.parameters)))

    def ruled(self, raw: Sequence[int]) -> Choice | None:
        """What the rules make of a choice: None where it is left out; UndecidedError."""
        if not self.rules.when and not self.rules.exclude:
            return tuple(raw)
        active = self.rules.active(self.values(raw))
        if self.rules.excluded(active):
            return None
        pairs = zip(self.parameters, raw, strict=True)
        return tuple(index if p.key in active else None for p, index in pairs)

    def values(self, choice: Choice | Sequence[int]) -> dict[str, Any]:
        """The values that a choice varies, by key."""
        return {parameter.key: parameter.values[i] for parameter, i in self._chosen(choice)}

    def points(self, choices: Sequence[Choice], problems: list[Problem]) -> list[Point]:
        """The points of some choices.

        What makes a point no experiment is appended to `problems`, once however many points
        have it. So are two points that give one experiment.
        """
        shared = plain(self.base)
        try:
            points = [self.point(choice, shared) for choice in choices]
        except ValidationError:
            problems += self._faults(choices)
            return []
        problems += self._repeats(choices, points)
        return points

    def point(self, choice: Choice, shared: dict[str, Any]) -> Point:
        """The point of a choice over the data of the base; ValidationError where it is none."""
        values, data = self.values(choice), shared
        for key, value in values.items():
            data = with_value(data, key.split("."), value)
        return Point(values, Experiment.model_validate(data))

    def _chosen(self, choice: Choice | Sequence[int]) -> Iterator[tuple[Parameter, int]]:
        for parameter, index in zip(self.parameters, choice, strict=True):
            if index is not None:
                yield parameter, index

    def _faults(self, choices: Sequence[Choice]) -> Iterable[Problem]:
        """What is wrong with any point: each fault once, named by the first point that has it.

        A value that is bad in itself, or a bad part of the base, is left out of later points, so
        that it hides nothing there.
        """
        faults: dict[tuple[Place, str], Problem] = {}
        base, base_faults = self.base, list[KeyPath]()
        bad: set[tuple[Parameter, int]] = set()
        rivals = {p.keys for p in self.parameters} if len(self.parameters) > 1 else set()
        for indices in choices:
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

    def _problem(self, finding: Finding, tree: Branch, indices: Choice) -> Problem:
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

    def _owner(self, path: KeyPath, indices: Choice) -> tuple[Parameter, int] | None:
        """The parameter that has its value at `path`, and the index of that value."""
        for parameter, i in self._chosen(indices):
            if path[: len(parameter.keys)] == parameter.keys:
                return parameter, i
        return None

    def _repeats(self, choices: Sequence[Choice], points: Sequence[Point]) -> Iterator[Problem]:
        """Two points that give one experiment would be one run under two names."""
        seen: dict[Experiment, Choice] = {}
        for choice, point in zip(choices, points, strict=True):
            first = seen.setdefault(point.experiment, choice)
            for parameter, i, j in zip(self.parameters, choice, first, strict=True):
                if i is None or (j is not None and parameter.hashable(i) == parameter.hashable(j)):
                    continue
                path = parameter.path(i)
                message = f"gives the experiment of the point {self._name(first)} again"
                yield Problem(place_of(self.root, path), dotted(path), message)
                break

    def _name(self, indices: Choice) -> str:
        return ", ".join(f"{p.key}={shown(p.nodes[i])}" for p, i in self._chosen(indices))
