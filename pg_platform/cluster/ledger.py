"""Carries what trials report from Tune into the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from pg_platform.cluster.record import Record
from pg_platform.config.plan import Trial
from pg_platform.training.rows import Outcome, Row


class Ledger(tune.Callback):
    """Tune's callback on the driver."""

    def __init__(
        self, trials: Mapping[str, Trial], record: Record, on_step: Callable[[], None]
    ) -> None:
        self.trials, self.record, self.on_step = trials, record, on_step

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores its callbacks; ours has nothing that outlives the driver

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Between two events of Tune: the place to ask trials to stop."""
        self.on_step()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is up: for the first time, or again after it died."""
        self.record.begin(self._planned(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """New rows, facts about the place, or a trial's last word."""
        planned = self._planned(trial)
        if "facts" in result:
            self.record.facts(planned, result["facts"])
        if result["rows"]:
            self.record.rows(planned, [Row(**row) for row in result["rows"]])
        match result.get("outcome"):
            case None:
                return
            case "failed":
                self.record.fail(planned, result["error"])
            case outcome:
                self.record.end(planned, Outcome(outcome))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial whose process died too often, or whose worker group gave up."""
        error = trial.get_error()
        self.record.fail(self._planned(trial), str(error) if error else "its process died")

    def _planned(self, trial: Any) -> Trial:
        return self.trials[trial.config["trial_id"]]
