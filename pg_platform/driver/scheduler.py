"""What runs next in a sweep, and when nothing more does. No Ray: both executors ask it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from pg_platform.config.experiment import Experiment, Resources
from pg_platform.config.metrics import base, measure
from pg_platform.driver.early_stopping import EarlyStopping
from pg_platform.driver.limits import Limits
from pg_platform.driver.trial_events import TrialEvents
from pg_platform.sweep.schema import SweepFile
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import (
    DISK_FULL,
    OUT_OF_MEMORY,
    Heartbeat,
    Outcome,
    Row,
    shortage,
)


class Waiting(Enum):
    """Why there is no segment now: others have to end first, or there is none left."""

    FOR_OTHERS = "for others"
    FOR_NOTHING = "for nothing"


@dataclass(frozen=True)
class Segment:
    """A part of a trial: to the end of epoch `until`, or of the trial where that is None."""

    trial: Trial
    until: int | None
    resources: Resources

    @property
    def experiment(self) -> Experiment:
        """The trial's, with the resources of this segment."""
        return self.trial.experiment.model_copy(update={"resources": self.resources})


class Search(Protocol):
    """What chooses points by the results of those before."""

    def ask(self) -> Sequence[Trial]:
        """The trials of a new point; none where the search has ended."""

    def tell(self, group: str, values: Sequence[float], *, pruned: bool) -> None:
        """How a point of `ask` ended: the results of its seeds, none where all failed."""


@dataclass
class _Run:
    """A segment that an executor was given, which may wait there for a free place."""

    segment: Segment
    begun: float | None = None
    """When its process came up, from which on it spends; None while it waits."""
    heard: float | None = None


@dataclass
class _Members:
    """The trials of one point: all seeds, those that are settled, and what each measured."""

    seeds: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    measured: dict[int, dict[int, float]] = field(default_factory=dict)
    """Seed to epoch to value."""


class Scheduler:
    """The trials of one call, from the first to the last segment."""

    def __init__(  # noqa: PLR0913 - most of them by keyword
        self,
        rules: SweepFile,
        record: TrialEvents,
        judge: EarlyStopping,
        *,
        search: Search | None = None,
        resources: Resources | None = None,
        spent_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`resources` are those of every trial; None: as its experiment has them."""
        self.rules, self.record, self.judge, self.search = rules, record, judge, search
        self.resources = resources
        self.clock = clock
        self.limits = Limits(rules, clock(), spent_seconds)
        self.trials: dict[str, Trial] = {}
        self.queue: deque[Segment] = deque()
        self.running: dict[str, _Run] = {}
        self.held: dict[str, Segment] = {}
        """Segments that have ended at a rung and wait for the judge."""
        self.points: dict[str, _Members] = {}
        self.stop_reasons: dict[str, str] = {}
        self.begun: set[str] = set()
        """Trials whose run in the store is open, or was, since this call began."""
        self.closed: str | None = None

    def add(
        self,
        trials: Sequence[Trial],
        finished: Collection[str] = (),
        given_up: Collection[str] = (),
    ) -> None:
        """Trials of the sweep, by their points.

        Ids in `finished` and `given_up` are not run: the first have a result, the others none.
        """
        for trial in trials:
            point = self.points.setdefault(trial.group, _Members())
            point.seeds.add(trial.seed)
            self.trials[trial.id] = trial
        for group in dict.fromkeys(trial.group for trial in trials):
            self.judge.add(group, self.points[group].seeds)
        for trial in trials:
            if trial.id in finished or trial.id in given_up:
                self._settled(trial, dropped=trial.id in given_up)
            else:
                rung = self.judge.next_rung(trial.group, 0)
                resources = self.resources or trial.experiment.resources
                self.queue.append(Segment(trial, rung, resources))

    def replay(self, trial: Trial, history: Sequence[tuple[int, float]]) -> None:
        """What a trial that finished in an earlier call reported: (epoch, value)."""
        for epoch, value in history:
            self._measured(trial, epoch, value)

    def next(self) -> Segment | Waiting:
        """What to start now.

        Points are judged when nothing else can start: the more scores there are, the fewer
        promotions are mistakes, and a trial at a rung holds no slot. A search, though, is to learn
        from those before: it is asked for a new point only once those that wait are judged.
        """
        limit = self.rules.resources.max_concurrent
        if limit is not None and len(self.running) >= limit:
            return Waiting.FOR_OTHERS
        while self._open():
            if self.queue:
                return self._start(self.queue.popleft())
            if self.search is not None and self._decided(idle=False, eager=True):
                continue
            if self.search is not None and (trials := self.search.ask()):
                self.add(trials)
            elif not self._decided(idle=not self.running):
                break
        return Waiting.FOR_OTHERS if self.running else Waiting.FOR_NOTHING

    def begin(self, trial: Trial) -> None:
        """The trial's process is up: for the first time, or again."""
        if (run := self.running.get(trial.id)) is not None and run.begun is None:
            run.begun = self.clock()
        self._hear(trial)
        self.begun.add(trial.id)
        self.record.begin(trial)

    def rows(self, trial: Trial, rows: Sequence[Row]) -> None:
        """The trial reports rows; none where it waits for another process."""
        self._hear(trial)
        if not rows:
            return
        name = base(self.rules.metric.name)
        for row in rows:
            if name in row.metrics:
                self._measured(trial, row.epoch, row.metrics[name])
        self.record.rows(trial, rows)

    def beat(self, trial: Trial, beat: Heartbeat) -> None:
        """The trial tells where it stands between two rows."""
        self._hear(trial)
        self.record.beat(trial, beat)

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """The trial's segment has come to its end.

        One that was left out stops there too where it came to a rung before it was asked.
        """
        segment, reason = self._ended(trial), self.stop_reasons.pop(trial.id, None)
        match outcome:
            case Outcome.PAUSED if reason is None:
                assert segment.until is not None, "only a rung pauses a trial"
                self.held[trial.id] = segment
                self.record.pause(trial)
                self.judge.arrive(trial.group, trial.seed, segment.until)
            case Outcome.INTERRUPTED | Outcome.PAUSED:
                self.record.interrupt(trial, reason or "interrupted")
                if reason is not None:
                    self._settled(trial, dropped=True)
            case Outcome.COMPLETED:
                self.record.finish(trial)
                self._settled(trial, dropped=False)

    def fail(self, trial: Trial, error: str) -> None:
        """The trial failed; the others go on unless the sweep has had enough.

        One that a full disk ended has not failed: it is interrupted, and nothing new starts.
        """
        segment, reason = self._ended(trial), self.stop_reasons.pop(trial.id, None)
        if error.startswith(DISK_FULL):
            self.record.interrupt(trial, reason or DISK_FULL)
            if reason is not None:
                self._settled(trial, dropped=True)
            self.record.verdict.infrastructure = error.partition("\n")[0]
            self.close(DISK_FULL)
            return
        if error.startswith(OUT_OF_MEMORY) and self.rules.on_oom != "fail":
            smaller = _smaller(segment) if self.rules.on_oom == "micro_batch" else None
            if smaller is None:
                self._infeasible(trial, error)
                return
            if reason is not None:
                self.record.interrupt(trial, reason)
                self._settled(trial, dropped=True)
                return
            self.record.shrink(trial, smaller.resources)
            self.queue.appendleft(smaller)
            return
        self.record.fail(trial, error)
        self._settled(trial, dropped=True)
        if (why := self.limits.failed(error)) is not None:
            self.close(why)

    def lost(self, trial: Trial, error: str, times: int, *, again: bool) -> None:
        """The trial's process was lost, the how many-th time; `again`: it is started once more."""
        most = self.rules.max_failures
        if again:
            self.running[trial.id].heard = None  # it waits for a place, as at first
            self.record.restart(trial, error, f"{times} of {most}")
            return
        line, _, rest = error.partition("\n")
        error = f"{line} (max_failures of {most} used up)\n{rest}"
        lacks = shortage(error)
        self.fail(trial, error if lacks is None else f"{lacks}: {error}")

    def hung(self) -> list[Trial]:
        """Trials that have not been heard of for too long; each is named once a hang."""
        now, found = self.clock(), []
        for run in self.running.values():
            if run.heard is not None and now - run.heard > self.rules.stall_after:
                run.heard = now
                found.append(run.segment.trial)
        return found

    def grace(self) -> float:
        """Seconds that the trials of this sweep have to return in once they are asked to stop."""
        asked = (t.experiment.checkpoints.grace_seconds for t in self.trials.values())
        return max(asked, default=0.0)

    def close(self, why: str) -> None:
        """No new segment starts any more."""
        if self.closed is None:
            self.closed = why
            self.record.say(f"no new trial starts: {why}")

    def leave_out(self, trial_id: str, why: str) -> bool:
        """Take a trial out of the sweep; True where it runs, and has to be asked to stop.

        Its point is judged, and a search is told, without it.
        """
        if trial_id in self.running:
            self.stop_reasons[trial_id] = why
            return True
        for segment in self._withdraw(lambda trial: trial.id == trial_id):
            self._put_down(segment.trial, why)
            self._settled(segment.trial, dropped=True)
        return False

    def abandon(self) -> None:
        """Nothing runs any more: trials that had begun are interrupted, others not started."""
        running = [run.segment for run in self.running.values()]
        self.running.clear()
        for segment in (*running, *self._withdraw(lambda _: True)):
            self._put_down(segment.trial, self.closed or "interrupted")

    def _open(self) -> bool:
        """Whether new segments start; looks at the budget where there are any."""
        if self.closed is None and (self.queue or self.held or self.search is not None):
            now = self.clock()
            running = sum(now - run.begun for run in self.running.values() if run.begun is not None)
            if (why := self.limits.exceeded(now, running)) is not None:
                self.record.verdict.over_budget = why
                self.close(why)
        return self.closed is None

    def _start(self, segment: Segment) -> Segment:
        assert segment.trial.id not in self.running, "a trial runs once at a time"
        self.running[segment.trial.id] = _Run(segment)
        self.limits.started.add(segment.trial.id)
        return segment

    def _ended(self, trial: Trial) -> Segment:
        run = self.running.pop(trial.id)
        if run.begun is not None:
            self.limits.trial_seconds += self.clock() - run.begun
        return run.segment

    def _hear(self, trial: Trial) -> None:
        if trial.id in self.running:
            self.running[trial.id].heard = self.clock()

    def _measured(self, trial: Trial, epoch: int, value: float) -> None:
        self.judge.note(trial.group, trial.seed, epoch, value)
        self.points[trial.group].measured.setdefault(trial.seed, {})[epoch] = value

    def _decided(self, *, idle: bool, eager: bool = False) -> bool:
        """Let the judge speak; True where a point goes on or is given up."""
        decisions = self.judge.decide(idle=idle, eager=eager)
        for segment in self._take(decisions.promoted):
            rung = self.judge.next_rung(segment.trial.group, segment.until or 0)
            self.queue.appendleft(replace(segment, until=rung))
        for segment in self._take(decisions.stopped):
            self.record.prune(segment.trial)
            self._settled(segment.trial, dropped=False, pruned=True)
        return bool(decisions.promoted or decisions.stopped)

    def _take(self, groups: Collection[str]) -> list[Segment]:
        taken = [segment for segment in self.held.values() if segment.trial.group in groups]
        for segment in taken:
            del self.held[segment.trial.id]
        return taken

    def _settled(self, trial: Trial, *, dropped: bool, pruned: bool = False) -> None:
        """The trial needs no more segments; a search is told once all seeds of a point are."""
        point = self.points[trial.group]
        point.settled.add(trial.seed)
        if dropped:
            self.judge.leave(trial.group, trial.seed)
            point.measured.pop(trial.seed, None)
        if point.settled >= point.seeds and self.search is not None:
            name, seeds = self.rules.metric.name, point.measured.values()
            results = [measure(sorted(values.items()), name) for values in seeds]
            self.search.tell(trial.group, results, pruned=pruned)

    def _put_down(self, trial: Trial, why: str) -> None:
        """The trial, which waits, goes no further in this call."""
        if trial.id in self.begun:
            self.record.interrupt(trial, why)
        else:
            self.record.verdict.not_started.add(trial.id)

    def _infeasible(self, trial: Trial, error: str) -> None:
        """A point that does not fit: its other seeds need not be tried; those that run find out."""
        kin = self._withdraw(lambda other: other.group == trial.group)
        for each in (trial, *(segment.trial for segment in kin)):
            self.record.infeasible(each, error)
            self._settled(each, dropped=True)

    def _withdraw(self, wanted: Callable[[Trial], bool]) -> list[Segment]:
        """Segments that wait to start or at a rung, taken out."""
        waiting = [*self.queue, *self.held.values()]
        taken = [segment for segment in waiting if wanted(segment.trial)]
        self.queue = deque(segment for segment in self.queue if not wanted(segment.trial))
        self.held = {i: segment for i, segment in self.held.items() if not wanted(segment.trial)}
        return taken


def _smaller(segment: Segment) -> Segment | None:
    """The same trial in half as large parts, which gives the same result; None where it cannot."""
    experiment, resources = segment.trial.experiment, segment.resources
    share = experiment.batch_size // resources.workers
    size = (resources.micro_batch or share) // 2
    if size < 1 or share % size:
        return None
    smaller = resources.model_copy(update={"micro_batch": size})
    try:
        Experiment.model_validate(experiment.model_dump() | {"resources": smaller.model_dump()})
    except ValueError:  # batch normalisation over more images than a part has
        return None
    return replace(segment, resources=smaller)
