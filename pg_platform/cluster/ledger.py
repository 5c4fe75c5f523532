"""Carries what trials report from Tune into the store, one run a trial, whatever crashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ray import tune

from pg_platform.cluster.screen import Screen
from pg_platform.cluster.verdict import Verdict
from pg_platform.config.plan import Trial
from pg_platform.results.runs import TrialRuns
from pg_platform.training.rows import Row


class Ledger(tune.Callback):
    """Tune's callback on the driver: opens, fills and closes the trials' runs."""

    def __init__(
        self,
        trials: Mapping[str, Trial],
        runs: TrialRuns,
        screen: Screen,
        *,
        on_step: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self.trials, self.runs, self.screen = trials, runs, screen
        self.on_step, self.on_end = on_step, on_end
        self.verdict = Verdict()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores its callbacks; ours has nothing that outlives the driver

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Between two events of Tune: the place to ask trials to stop."""
        self.on_step()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is up: for the first time, or again after it died."""
        planned = self._planned(trial)
        self.runs.open(planned)
        self.screen.show(planned.id, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """New rows, facts about the place, or a trial's last word."""
        planned = self._planned(trial)
        if "facts" in result:
            self.runs.tag(planned, result["facts"])
        rows = [Row(**row) for row in result["rows"]]
        if rows:
            self.runs.log(planned, rows)
            self.screen.progress(planned.id, rows[-1])
        match result.get("outcome"):
            case "completed":
                self._close(planned, "finished")
                self.verdict.finished.add(planned.id)
            case "interrupted":
                self._close(planned, "interrupted")
                self.verdict.interrupted.add(planned.id)
            case "failed":
                self._fail(planned, result["error"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial whose process died too often, or whose worker group gave up."""
        error = trial.get_error()
        self._fail(self._planned(trial), str(error) if error else "its process died")

    def _planned(self, trial: Any) -> Trial:
        return self.trials[trial.config["trial_id"]]

    def _fail(self, planned: Trial, error: str) -> None:
        self.verdict.failed[planned.id] = error
        self.runs.fail(planned, error)
        self.screen.show(planned.id, "failed")
        self.on_end()

    def _close(self, planned: Trial, how: Literal["finished", "interrupted"]) -> None:
        self.runs.close(planned, how)
        self.screen.show(planned.id, how)
        self.on_end()
