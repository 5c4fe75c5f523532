"""When a sweep has had enough: of its budget, or of failures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from pg_platform.sweep.schema import SweepFile


class Limits:
    """Counts what is spent and what failed, and says which limit is reached."""

    def __init__(self, rules: SweepFile, begun_at: float, spent_seconds: float) -> None:
        """`spent_seconds` are those of the sweep's trials before this call."""
        self.rules, self.begun_at = rules, begun_at
        self.trial_seconds = spent_seconds
        self.started: set[str] = set()
        self.errors: Counter[str] = Counter()

    def failed(self, error: str) -> str | None:
        """Note a failed trial; which limit on failures that reaches."""
        kind = _kind(error)
        self.errors[kind] += 1
        most, total = self.rules.max_failed_trials, self.errors.total()
        if most is not None and total >= most:
            return f"{total} trials failed (max_failed_trials: {most})"
        if self.errors[kind] >= self.rules.equal_failures:
            return f"{self.errors[kind]} trials failed with one and the same error (equal_failures)"
        return None

    def exceeded(self, now: float, running_seconds: float) -> str | None:
        """The part of the budget that is used up at the time `now`, in words."""
        for name, limit, spent in self._spent(now, running_seconds):
            if limit is not None and spent >= limit:
                return f"budget.{name} of {limit:g} is used up"
        return None

    def _spent(
        self, now: float, running_seconds: float
    ) -> Iterator[tuple[str, float | None, float]]:
        """(name, limit, spent); the limit on wall clock and on trials is for this call."""
        budget, resources = self.rules.budget, self.rules.resources
        hours = (self.trial_seconds + running_seconds) / 3600 * resources.workers
        gpu_hours = hours * resources.gpus_per_worker
        yield "trials", budget.trials, len(self.started)
        yield "cpu_hours", budget.cpu_hours, hours * resources.cpus_per_worker
        yield "gpu_hours", budget.gpu_hours, gpu_hours
        yield "wall_clock", budget.wall_clock, now - self.begun_at
        yield "usd", budget.usd, gpu_hours * (budget.usd_per_gpu_hour or 0.0)


def _kind(error: str) -> str:
    """What equal failures share: the line that says what it is, without its numbers."""
    return re.sub(r"\d+", "N", error.strip().partition("\n")[0])
