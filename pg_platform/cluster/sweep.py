"""Tune executes what the plan asks for and the store does not hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.interrupts import interrupts
from pg_platform.cluster.ledger import Ledger
from pg_platform.cluster.ray_cluster import check_capacity, ray_cluster
from pg_platform.cluster.record import Record
from pg_platform.cluster.stop_flag import StopFlag
from pg_platform.cluster.trial import (
    WORKER_DEATHS_AT_MOST,
    Assignment,
    in_process,
    on_workers,
)
from pg_platform.config.plan import Trial


class RayExecutor:
    """Runs trials on Ray and keeps their runs up to date."""

    def __init__(self, root: Path, *, worker_group: bool = False) -> None:
        """`root` holds checkpoints and Tune's own files; `worker_group` forces a TorchTrainer."""
        self.root, self.worker_group = root, worker_group

    def run(self, trials: Sequence[Trial], record: Record) -> None:
        """Run `trials` to their end, or until Ctrl-C.

        Raises ClusterError where Ray cannot be had or no node can hold a worker.
        """
        if not trials:
            return
        resources = trials[0].experiment.resources
        with ray_cluster(), interrupts() as interrupted:
            check_capacity(resources.cpus_per_worker, resources.gpus_per_worker)
            stop, planned = StopFlag(), PlannedTrials([self._assign(t) for t in trials])

            def stop_where_asked() -> None:
                if interrupted() and not planned.stopped:
                    planned.stopped = True
                    stop.raise_it()

            ledger = Ledger({t.id: t for t in trials}, record, stop_where_asked)
            self._tuner(trials[0], planned, ledger, len(trials)).fit()
            if interrupted():
                left = {t.id for t in trials} - record.verdict.finished
                record.verdict.interrupted |= left - record.verdict.failed.keys()

    def _assign(self, trial: Trial) -> Assignment:
        folder = trial_folder(self.root, trial)
        return Assignment(trial.id, trial.experiment.model_dump_json(), str(folder))

    def _tuner(
        self, first: Trial, planned: PlannedTrials, ledger: Ledger, count: int
    ) -> tune.Tuner:
        resources = first.experiment.resources
        scratch = self.root / "tune" / str(os.getpid())
        shutil.rmtree(scratch, ignore_errors=True)
        nested = self.worker_group or resources.workers > 1
        trainable = on_workers(resources, scratch) if nested else in_process(resources)
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=planned,
                num_samples=count,
                reuse_actors=not nested,  # hangs with worker groups that are stopped early
                trial_dirname_creator=lambda trial: trial.config["trial_id"],
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[ledger],
                failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS_AT_MOST),
            ),
        )


class PlannedTrials(Searcher):
    """Hands Tune the planned trials in order; nothing more once `stopped` is set."""

    def __init__(self, assignments: Sequence[Assignment]) -> None:
        super().__init__()
        self.left = list(reversed(assignments))
        self.stopped = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's config, or Tune's word for the end."""
        if self.stopped or not self.left:
            return str(Searcher.FINISHED)
        return self.left.pop().config()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A plan does not depend on results."""
