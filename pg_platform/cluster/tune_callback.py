"""Carries what trials report from Tune to the conductor."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group_table,
    remove_placement_group,
)

from pg_platform.cluster.assignment import LostError
from pg_platform.driver.control import INTERRUPTS
from pg_platform.driver.scheduler import Conductor
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import Outcome, Row


class Ledger(tune.Callback):
    """Tune's callback on the driver. `places` has the last facts of each trial that runs."""

    def __init__(self, conductor: Conductor, on_step: Callable[[], None]) -> None:
        self.conductor, self.on_step = conductor, on_step
        self.places: dict[str, dict[str, str]] = {}
        self.ended: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores its callbacks; ours has nothing that outlives the driver

    def setup(self, **info: Any) -> None:
        """Tune has put a signal handler of its own in place."""
        INTERRUPTS.install()

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

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial whose process was lost is about to be started again."""
        planned = self._planned(trial)
        self._release(planned)
        if trial.config["segment"] not in self.ended:
            self.conductor.lost(planned, _loss(trial), trial.num_failures, again=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial whose process was lost too often.

        Where Ray itself has died that is no fault of the trial, and this process ends.
        """
        INTERRUPTS.watchdog.look()
        planned = self._planned(trial)
        if trial.config["segment"] not in self.ended:
            self.ended.add(trial.config["segment"])
            self.conductor.lost(planned, _loss(trial), trial.num_failures, again=False)
        self._release(planned)

    def on_nodes(self, nodes: Collection[str]) -> list[Trial]:
        """The trials that have a process on one of these nodes."""
        return [
            self.conductor.trials[trial_id]
            for trial_id, place in self.places.items()
            if not _nodes(place).isdisjoint(nodes)
        ]

    def _release(self, planned: Trial) -> None:
        """A net below Train's own tidying: its worker group must not outlive the trial."""
        place = self.places.pop(planned.id, {})
        if group := place.get("placement_group"):
            remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))

    def _planned(self, trial: Any) -> Trial:
        return self.conductor.trials[trial.config["trial_id"]]


def _loss(trial: Any) -> str:
    """What took the trial's process last: in one line, then all that Ray knows of it."""
    kept = trial.pickled_error_file
    match None if kept is None else pickle.loads(Path(kept).read_bytes()):
        case RayTaskError(cause=LostError() as lost):
            return str(lost)
        case RayTaskError() as error:
            return f"{str(error).strip().rpartition(chr(10))[2]}\n{error}"
        case RayActorError() as error:
            node = "node has died" in str(error) or error.preempted
            return f"its {'node' if node else 'process'} died\n{error}"
        case other:
            return f"its process was lost\n{other or trial.get_error()}"


def _nodes(place: dict[str, str]) -> set[str]:
    """Where the processes of a trial are: on one node, or wherever its placement group is."""
    if (group := place.get("placement_group")) is None:
        return {place["node"]}
    table = placement_group_table(PlacementGroup(ray.PlacementGroupID.from_hex(group)))
    return set(table["bundles_to_node_id"].values())
