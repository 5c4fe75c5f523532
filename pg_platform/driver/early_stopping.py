"""Which points a sweep gives up early, decided on all seeds of a point and never on one.

Trials pause at rungs, so that nothing is decided on half of a point. A point's score at a rung is
the mean of its seeds' values there; it counts once all seeds of the point have come that far, or
failed on the way.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from pg_platform.sweep.schema import EarlyTerminate


@dataclass
class _Standing:
    """One point: its bracket, the rung it waits at, and its seeds' values by epoch."""

    bracket: int
    seeds: set[int]
    waiting: int | None = None
    arrived: set[int] = field(default_factory=set)
    values: dict[int, dict[int, float]] = field(default_factory=dict)
    """Epoch to seed to value."""


@dataclass(frozen=True)
class Decisions:
    """Points that go on, and points that are given up, in the order in which they were met."""

    promoted: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


class EarlyStopping:
    """Holds a sweep's points at their rungs and says which go on."""

    def __init__(self, rule: EarlyTerminate, *, maximize: bool, epochs: int) -> None:
        self.rule, self.sign, self.epochs = rule, (1.0 if maximize else -1.0), epochs
        self.points: dict[str, _Standing] = {}

    def add(self, point: str, seeds: Iterable[int]) -> None:
        """A point of the sweep; brackets are dealt in the order of the points."""
        self.points[point] = _Standing(len(self.points) % self._brackets(), set(seeds))

    def next_rung(self, point: str, epoch: int) -> int | None:
        """The first epoch after `epoch` at which the point pauses; None: it runs to its end."""
        return next((rung for rung in self._rungs(self.points[point]) if rung > epoch), None)

    def note(self, point: str, seed: int, epoch: int, value: float) -> None:
        """The metric of a seed at an epoch."""
        self.points[point].values.setdefault(epoch, {})[seed] = value

    def arrive(self, point: str, seed: int, epoch: int) -> None:
        """A seed has paused at the rung `epoch`."""
        standing = self.points[point]
        if standing.waiting != epoch:
            standing.waiting, standing.arrived = epoch, set()
        standing.arrived.add(seed)

    def leave(self, point: str, seed: int) -> None:
        """A seed failed and will not come any more; the others stand for the point."""
        self.points[point].seeds.discard(seed)

    def decide(self, *, idle: bool, eager: bool = False) -> Decisions:
        """What can be said now. `idle`: nothing runs or waits to run, so no more scores will come.

        Then every rung is settled with the points that it has. `eager`: a search learns from what
        is given up, so a point goes on or is given up by the scores so far, once there are
        `min_points` of them.
        """
        promoted: list[str] = []
        stopped: list[str] = []
        for name, standing in self.points.items():
            if self._held(standing) and not self._score(standing, standing.waiting):
                stopped.append(name)
        for group in self._groups():
            up, out = self._settled(*group, idle=idle, eager=eager)
            promoted += up
            stopped += [name for name in out if name not in stopped]
        promoted = [name for name in promoted if name not in stopped]
        for name in (*promoted, *stopped):
            self.points[name].waiting = None
        return Decisions(tuple(promoted), tuple(stopped))

    def _settled(
        self, bracket: int, rung: int, *, idle: bool, eager: bool
    ) -> tuple[list[str], list[str]]:
        """Points waiting at a rung that go on, and those that do not."""
        scores = {
            name: score[0]
            for name, standing in self.points.items()
            if standing.bracket == bracket and (score := self._score(standing, rung))
        }
        waiting = [n for n in scores if self.points[n].waiting == rung and self._held_name(n)]
        if not waiting or (len(scores) < self.rule.min_points and not idle):
            return [], []
        if self.rule.type == "median":
            return self._by_median(scores, waiting)
        ranked = sorted(scores, key=lambda name: -scores[name])
        keep = len(scores) // self.rule.reduction_factor
        whole = idle or eager
        best = set(ranked[: max(keep, 1) if whole else keep])
        up = [name for name in waiting if name in best]
        return up, [name for name in waiting if name not in best] if whole else []

    def _by_median(
        self, scores: dict[str, float], waiting: list[str]
    ) -> tuple[list[str], list[str]]:
        up: list[str] = []
        out: list[str] = []
        for name in waiting:
            others = [score for other, score in scores.items() if other != name]
            enough = len(scores) >= self.rule.min_points
            behind = enough and scores[name] < statistics.median(others)
            (out if behind else up).append(name)
        return up, out

    def _score(self, standing: _Standing, epoch: int | None) -> tuple[float] | None:
        """The mean over the seeds, greater is better; None where one is missing or no number."""
        values = standing.values.get(epoch or 0, {})
        if not standing.seeds or not standing.seeds <= values.keys():
            return None
        mean = statistics.fmean(values[seed] for seed in standing.seeds)
        return (self.sign * mean,) if math.isfinite(mean) else None

    def _held(self, standing: _Standing) -> bool:
        return standing.waiting is not None and standing.seeds <= standing.arrived

    def _held_name(self, name: str) -> bool:
        return self._held(self.points[name])

    def _groups(self) -> list[tuple[int, int]]:
        """(bracket, rung) at which points wait, the highest rungs first."""
        held = {(s.bracket, s.waiting) for s in self.points.values() if self._held(s)}
        known = [(bracket, rung) for bracket, rung in held if rung is not None]
        return sorted(known, key=lambda group: -group[1])

    def _rungs(self, standing: _Standing) -> list[int]:
        rule, rungs = self.rule, []
        rung = rule.min_epochs * rule.reduction_factor**standing.bracket
        while rule.type != "none" and rung < self.epochs:
            rungs.append(rung)
            step = rung * (rule.reduction_factor - 1)
            rung += rule.min_epochs if rule.type == "median" else step
        return rungs

    def _brackets(self) -> int:
        """Hyperband's brackets: as many as there are first rungs below the last epoch."""
        if self.rule.type != "hyperband":
            return 1
        count, rung = 0, self.rule.min_epochs
        while rung < self.epochs:
            count, rung = count + 1, rung * self.rule.reduction_factor
        return max(count, 1)
