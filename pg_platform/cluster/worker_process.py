"""The training loop in a process of Ray, and its reports on their way to the driver."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune

from pg_platform.cluster.assignment import Assignment, LostError
from pg_platform.cluster.stop_flag import StopPoll
from pg_platform.config.experiment import Experiment
from pg_platform.training.failures import lasting, told
from pg_platform.training.history import Outcome, Row
from pg_platform.training.loop import train
from pg_platform.training.worker import Place, local_place, place_facts

REPORT_SECONDS = 1.0
"""How long a trial of one worker keeps its rows before it sends them."""


def play_alone(assignment: Assignment) -> None:
    """Train one segment in this process, the only worker.

    An error that would come again is reported, not raised: Tune tries again what is raised.
    """
    report = Report(tune.report, every_seconds=REPORT_SECONDS)
    try:
        play(assignment, local_place(experiment_of(assignment).resources), report)
    except Exception as error:
        text = told(error, assignment.folder)
        if not lasting(error):
            raise LostError(text) from error
        report.end("failed", error=text)


def play(assignment: Assignment, place: Place, report: Report) -> Outcome:
    """Train one segment at `place`; the last word of the segment is reported."""
    experiment = experiment_of(assignment)
    report.facts(place_facts(experiment, place.device))
    poll = StopPoll(assignment.trial_id)
    outcome = train(
        experiment,
        Path(assignment.folder),
        place=place,
        report=report,
        should_stop=poll,
        should_save=poll.should_save,
        until=assignment.until,
        warn=report.warn,
    )
    report.end(outcome.value)
    return outcome


def experiment_of(assignment: Assignment) -> Experiment:
    """The experiment that was sent as text."""
    return Experiment.model_validate_json(assignment.experiment)


class Report:
    """Rows on their way to the driver, through Tune's or Train's own report."""

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        group: str | None = None,
        every_seconds: float = 0.0,
    ) -> None:
        """`group` is the placement group of a trial's own workers.

        Rows are kept and sent together, at most once in `every_seconds`: a driver that is told of
        each short epoch takes the time from the trials. Several workers report in step, so theirs
        is 0. What a kill takes with it stands in the checkpoint, and is reported from there.
        """
        self.send, self.group, self.every_seconds = send, group, every_seconds
        self.kept: list[Row] = []
        self.sent_at = -math.inf

    def __call__(self, rows: Sequence[Row]) -> None:
        """New rows; none where the trial waits."""
        self.kept += rows
        if not rows or time.monotonic() - self.sent_at >= self.every_seconds:
            self.sent_at = time.monotonic()
            self.send({"rows": self._taken()})

    def _taken(self) -> list[dict[str, Any]]:
        taken = [asdict(row) for row in self.kept]
        self.kept.clear()
        return taken

    def facts(self, facts: dict[str, str]) -> None:
        """What is known only where the trial runs, and how to reach its process."""
        node = ray.get_runtime_context().get_node_id()
        process = {"pid": str(os.getpid()), "node": node}
        if self.group is not None:
            process["placement_group"] = self.group
        self.send({"rows": [], "facts": facts, "process": process})

    def warn(self, told: str) -> None:
        """What the run goes on from, where that is not what one would think."""
        self.send({"rows": self._taken(), "warning": told})

    def end(self, outcome: str, error: str | None = None) -> None:
        """The last word of a segment: completed, paused, interrupted or failed."""
        self.send({"rows": self._taken(), "outcome": outcome, "error": error})
