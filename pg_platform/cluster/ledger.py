"""Carries what trials report from Tune to the conductor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.util.placement_group import PlacementGroup, remove_placement_group

from pg_platform.cluster.conductor import Conductor
from pg_platform.config.plan import Trial
from pg_platform.training.rows import Outcome, Row, shortage


class Ledger(tune.Callback):
    """Tune's callback on the driver. `places` has the last facts of each trial that runs."""

    def __init__(self, conductor: Conductor, on_step: Callable[[], None]) -> None:
        self.conductor, self.on_step = conductor, on_step
        self.places: dict[str, dict[str, str]] = {}
        self.ended: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores its callbacks; ours has nothing that outlives the driver

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Between two events of Tune: the place to look at clocks and requests."""
        self.on_step()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is up: for the first time, or again after it died.

        One that died between its last word and its return has nothing more to say.
        """
        if trial.config["segment"] not in self.ended:
            self.conductor.begin(self._planned(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """New rows, facts about the place, or a segment's last word."""
        planned = self._planned(trial)
        if trial.config["segment"] in self.ended:
            return  # Tune gives the last result of a function once more when that returns
        if "facts" in result:
            self.places[planned.id] = result["process"]
            self.conductor.record.facts(planned, result["facts"])
        if "warning" in result:
            self.conductor.record.warn(planned, result["warning"])
        self.conductor.rows(planned, [Row(**row) for row in result["rows"]])
        match result.get("outcome"):
            case None:
                return
            case "failed":
                self.conductor.fail(planned, result["error"])
            case outcome:
                self.conductor.end(planned, Outcome(outcome))
        self.ended.add(trial.config["segment"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The segment's process has returned."""
        self._release(self._planned(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial whose process died too often, or whose worker group gave up."""
        planned, error = self._planned(trial), str(trial.get_error() or "its process died")
        if trial.config["segment"] not in self.ended:
            lacks = shortage(error)
            self.ended.add(trial.config["segment"])
            self.conductor.fail(planned, error if lacks is None else f"{lacks}\n{error}")
        self._release(planned)

    def _release(self, planned: Trial) -> None:
        """A net below Train's own tidying: its worker group must not outlive the trial."""
        place = self.places.pop(planned.id, {})
        if group := place.get("placement_group"):
            remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))

    def _planned(self, trial: Any) -> Trial:
        return self.conductor.trials[trial.config["trial_id"]]
