"""What holds of a sweep whatever becomes of its trials: an executor with any outcomes, no Ray."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_platform.driver.scheduler import Scheduler, Segment, Waiting
from pg_platform.store.runs import TrialRuns
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import OUT_OF_MEMORY, Outcome, Row
from tests.results import ACCURACY, vocabularies
from tests.scheduling import EPOCHS, Clock, Searched, scheduler


class Runs(TrialRuns):
    """Runs without a store: each is opened before it is written to, and closed for good."""

    def __init__(self, root: Path) -> None:
        self.stands: dict[str, str] = {}
        self.folder = lambda trial: root / trial.id

    def open(self, trial: Trial) -> str:
        assert self.stands.get(trial.id, "open") == "open", f"{trial.id} begins after its end"
        self.stands[trial.id] = "open"
        return trial.id

    def tag(self, trial: Trial, facts: Mapping[str, str]) -> None:  # noqa: ARG002
        assert self.stands[trial.id] == "open"

    def log(self, trial: Trial, rows: Sequence[Row]) -> None:  # noqa: ARG002
        assert self.stands[trial.id] == "open"

    def finish(self, trial: Trial) -> None:
        self._end(trial, "finished")

    def close(self, trial: Trial, reason: str) -> None:
        self._end(trial, reason)

    def fail(self, trial: Trial, error: str, reason: Literal["error", "infeasible"]) -> None:  # noqa: ARG002
        if trial.id not in self.stands:
            self.open(trial)
        self._end(trial, reason)

    def _end(self, trial: Trial, how: str) -> None:
        assert self.stands[trial.id] == "open", f"{trial.id} ends twice"
        self.stands[trial.id] = how


@dataclass
class Asked(Searched):
    """A search that keeps every word that it is told."""

    asked: list[str] = field(default_factory=list)
    words: list[tuple[str, int]] = field(default_factory=list)

    def ask(self) -> Sequence[Trial]:
        trials = super().ask()
        self.asked += {trial.group for trial in trials}
        return trials

    def tell(self, group: str, values: Sequence[float], *, pruned: bool) -> None:
        super().tell(group, values, pruned=pruned)
        self.words.append((group, len(values)))


@dataclass
class Executor:
    """Segments that wait for a place, those whose process is up, and trials asked to stop."""

    made: Scheduler
    waiting: dict[str, Segment] = field(default_factory=dict)
    up: dict[str, Segment] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    reached: dict[str, int] = field(default_factory=dict)
    ran_on: bool = False
    """Whether it went on to where nothing starts any more."""

    def next(self) -> bool:
        """Take a segment, or find that there is none."""
        was_closed = self.made.closed is not None
        segment = self.made.next()
        if not isinstance(segment, Segment):
            busy = bool(self.waiting or self.up)
            assert segment is (Waiting.FOR_OTHERS if busy else Waiting.FOR_NOTHING)
            return False
        assert not was_closed, "a segment starts after the close"
        assert segment.trial.id not in self.waiting | self.up, "a trial runs twice at a time"
        assert segment.trial.id not in self.left_out, "what was left out goes on"
        assert segment.until is None or segment.until > self.reached.get(segment.trial.id, 0)
        most = self.made.rules.resources.max_concurrent
        assert most is None or len(self.waiting) + len(self.up) < most
        self.waiting[segment.trial.id] = segment
        return True

    def begin(self, trial_id: str) -> None:
        if trial_id in self.waiting:
            self.up[trial_id] = self.waiting.pop(trial_id)
        self.made.begin(self.up[trial_id].trial)

    def run_out(self, trial_id: str, value: float) -> None:
        """The segment comes to its rung or to the trial's end."""
        segment = self.up.pop(trial_id)
        epoch = segment.until or EPOCHS
        self.made.rows(segment.trial, [Row(epoch, epoch, epoch, {ACCURACY.name: value})])
        self.reached[trial_id] = epoch
        paused = segment.until is not None
        self.made.end(segment.trial, Outcome.PAUSED if paused else Outcome.COMPLETED)

    def fail(self, trial_id: str, error: str) -> None:
        """The trial fails, perhaps before its process is up."""
        segments = self.up if trial_id in self.up else self.waiting
        self.made.fail(segments.pop(trial_id).trial, error)

    def stop(self, trial_id: str) -> None:
        """The trial heeds what it was asked; otherwise it goes on."""
        if trial_id in self.stopping:
            self.made.end(self.up.pop(trial_id).trial, Outcome.INTERRUPTED)

    def leave_out(self, trial_id: str) -> None:
        self.left_out.add(trial_id)
        if self.made.leave_out(trial_id, "killed"):
            self.stopping.add(trial_id)

    def close(self) -> None:
        self.made.close("asked to stop")
        self.stopping |= set(self.made.running)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["none", "asha", "hyperband", "median"]))
    return {
        "early_terminate": {"type": kind, "min_epochs": 20, "reduction_factor": 2, "min_points": 2},
        "on_oom": draw(st.sampled_from(["infeasible", "micro_batch", "fail"])),
        "equal_failures": draw(st.integers(2, 4)),
        "max_failed_trials": draw(st.none() | st.integers(1, 4)),
        "resources": {"max_concurrent": draw(st.none() | st.integers(1, 3))},
        "budget": draw(st.sampled_from([{}, {}, {"trials": 3}, {"wall_clock": "50s"}])),
    }


def in_parts(trials: Sequence[Trial]) -> list[Trial]:
    """The same trials, of which each can go on in halves and then in quarters."""
    fitting = {"batch_norm_images": 128}
    return [
        replace(trial, experiment=trial.experiment.model_copy(update=fitting)) for trial in trials
    ]


def play(executor: Executor, clock: Clock, draw: st.DataObject) -> None:
    """Up to forty events of any kind."""
    events = ("next", "next", "begin", "begin", "run out", "run out", "run out")
    rare = ("fail", "out of memory", "stop", "leave out", "close", "clock")
    kinds = st.sampled_from((*events, *rare))
    for kind in draw.draw(st.lists(kinds, min_size=10, max_size=40)):
        known = list(executor.made.trials) if kind == "leave out" else list(executor.up)
        if kind == "begin" or (kind == "fail" and not known):
            known = [*executor.waiting, *executor.up]
        if kind in ("next", "close", "clock"):
            match kind:
                case "next":
                    executor.next()
                case "close" if draw.draw(st.booleans()):
                    executor.close()
                case _:
                    clock.now += 10.0
        elif known:
            happens(executor, kind, draw.draw(st.sampled_from(known)), draw)


def happens(executor: Executor, kind: str, trial_id: str, draw: st.DataObject) -> None:
    match kind:
        case "begin":
            executor.begin(trial_id)
        case "run out":
            executor.run_out(trial_id, draw.draw(st.floats(0, 1) | st.just(math.nan)))
        case "fail":
            executor.fail(trial_id, f"ValueError: {draw.draw(st.sampled_from('ab'))}")
        case "out of memory":
            executor.fail(trial_id, OUT_OF_MEMORY)
        case "stop":
            executor.stop(trial_id)
        case "leave out":
            executor.leave_out(trial_id)


def run_on(executor: Executor) -> None:
    """All that is left, to where nothing starts any more."""
    busy = True
    while busy:
        busy = executor.next()
        for trial_id in [*executor.waiting, *executor.up]:
            executor.begin(trial_id)
            executor.run_out(trial_id, 0.5)
            busy = True
    executor.ran_on = True


def check_ends(executor: Executor, search: Asked | None, runs: Runs) -> None:
    """Each trial has ended in one way, and the search was told of what is settled."""
    made, verdict = executor.made, executor.made.record.verdict
    went = Counter(
        trial_id
        for ends in (
            verdict.finished,
            verdict.interrupted,
            verdict.pruned,
            verdict.failed,
            verdict.infeasible,
            verdict.not_started,
        )
        for trial_id in ends
    )
    assert went == dict.fromkeys(made.trials, 1)
    cut_off = executor.up | executor.waiting  # the next call closes the runs of these
    for trial_id in made.trials.keys() - cut_off.keys():
        assert (trial_id in runs.stands) == (trial_id not in verdict.not_started)
        assert runs.stands.get(trial_id) != "open", "a run is left open in the store"
    settled = verdict.finished | verdict.pruned | verdict.failed.keys() | verdict.infeasible.keys()
    open_ends = verdict.interrupted | verdict.not_started
    if executor.ran_on and made.closed is None:
        assert open_ends <= executor.left_out, "what nobody stopped runs to its end"
    if search is not None:
        told = Counter(group for group, _ in search.words)
        assert max(told.values(), default=0) <= 1
        for group in search.asked:
            ids = {trial.id for trial in made.trials.values() if trial.group == group}
            if ids <= settled:
                assert told[group] == 1
            for values in [count for name, count in search.words if name == group]:
                assert values == len(ids & (verdict.finished | verdict.pruned))


@settings(max_examples=300, deadline=None)
@given(rules(), st.integers(1, 3), st.integers(0, 3), st.none() | st.integers(1, 3), st.data())
def test_whatever_happens_each_trial_ends_once(
    tmp_path_factory: pytest.TempPathFactory,
    words: dict[str, Any],
    seeds: int,
    fixed: int,
    searched: int | None,
    data: st.DataObject,
) -> None:
    sizes = [2, 4, 8, 16, 32, 64][: fixed + (searched or 0)]
    plans = [in_parts(vocabularies([size], seeds)) for size in sizes]
    search = None if searched is None else Asked(plans[fixed:])
    clock, runs = Clock(), Runs(tmp_path_factory.getbasetemp() / "trials")
    made = scheduler(runs, list(chain.from_iterable(plans[:fixed])), clock, search, **words)
    executor = Executor(made)
    play(executor, clock, data)
    if data.draw(st.booleans()):
        run_on(executor)
    made.abandon()
    check_ends(executor, search, runs)
