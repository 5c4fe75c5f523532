"""Tune executes what the conductor starts."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pg_platform.cluster.assignment import Assignment, request
from pg_platform.cluster.ray_cluster import DRIVER_RESOURCE, Drains, check_capacity, ray_cluster
from pg_platform.cluster.stop_flag import StopFlags
from pg_platform.cluster.tune_callback import Ledger
from pg_platform.config.experiment import Resources
from pg_platform.driver.control import INTERRUPTS, Control, obey
from pg_platform.driver.scheduler import Conductor, Segment, Waiting
from pg_platform.driver.watchdog import Guard
from pg_platform.sweep.trials import trial_folder

Trainable = Callable[[dict[str, Any]], None]


def in_process(resources: Resources) -> Trainable:
    """A trainable with one worker, which trains in the trial's own process.

    It costs about 0.2 s beyond its steps once the process is warm; a nested worker group costs
    about 40 CPU-seconds.
    """
    trainable: Trainable = tune.with_resources(_train_here, request(resources))
    return trainable


def on_workers(resources: Resources, storage: Path) -> Trainable:
    """A trainable whose trial is a TorchTrainer with `resources.workers` workers."""

    def trial(config: dict[str, Any]) -> None:
        from pg_platform.cluster.worker_group import train_on_workers

        train_on_workers(Assignment(**config), resources, storage)

    trainable: Trainable = tune.with_resources(trial, {DRIVER_RESOURCE: 1})
    return trainable


def _train_here(config: dict[str, Any]) -> None:
    from pg_platform.cluster.worker_process import play_alone

    play_alone(Assignment(**config))


class RayExecutor:
    """Runs segments on Ray until the conductor has no more."""

    def __init__(self, root: Path, *, worker_group: bool = False) -> None:
        """`root` holds checkpoints and Tune's own files; `worker_group` forces a TorchTrainer."""
        self.root, self.worker_group = root, worker_group

    def run(self, conductor: Conductor, resources: Resources, control: Control) -> None:
        """Run to the end, or until a signal or a request from elsewhere.

        Raises ClusterError where Ray cannot be had or no node can hold a worker. Where Ray dies
        meanwhile the process ends, see `watchdog`.
        """
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the ledger tells of deaths
        with ray_cluster() as health:
            guard = Guard(
                grace=conductor.grace,
                running=lambda: bool(conductor.running),
                died=health.gone,
                unread=control.unread,
            )
            with INTERRUPTS.patient(guard):
                self._run(conductor, resources, control, guard)

    def _run(
        self, conductor: Conductor, resources: Resources, control: Control, guard: Guard
    ) -> None:
        check_capacity(request(resources))
        flags, drains = StopFlags(), Drains()

        def look_around() -> None:
            guard.turn()
            for trial in ledger.on_nodes(drains.new()):
                conductor.record.say(f"{trial.name}: its node is drained; it leaves a checkpoint")
                flags.save([trial.id])
            if guard.asked and conductor.closed is None:
                conductor.record.verdict.stopped = True
                conductor.close("interrupted")
                flags.set(list(conductor.running), raised=True)
            obey(conductor, control, lambda ids: flags.set(ids, raised=True), guard.ask)
            for trial in conductor.hung():
                if (place := ledger.places.get(trial.id)) is None:
                    conductor.record.say(f"{trial.name}: silent, and its process not known yet")
                    continue
                conductor.record.hang(trial, conductor.rules.stall_after)
                end_process(place)

        ledger = Ledger(conductor, look_around)
        guard.turn()
        try:
            self._tuner(conductor, resources, ledger, flags).fit()
        except (RayError, tune.TuneError, RuntimeError, OSError):
            INTERRUPTS.watchdog.settle()  # where Ray has died that is what is told
            raise

    def _tuner(
        self, conductor: Conductor, resources: Resources, ledger: Ledger, flags: StopFlags
    ) -> tune.Tuner:
        scratch = self.root / "tune" / str(os.getpid())
        shutil.rmtree(scratch, ignore_errors=True)
        nested = self.worker_group or resources.workers > 1
        trainable = on_workers(resources, scratch) if nested else in_process(resources)
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=Segments(conductor, self.root, flags),
                num_samples=-1,  # as many as the conductor starts
                reuse_actors=not nested,  # hangs with worker groups that are stopped early
                trial_dirname_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[ledger],
                failure_config=tune.FailureConfig(max_failures=conductor.rules.max_failures),
            ),
        )


class Segments(Searcher):
    """Hands Tune the conductor's segments; each is a trial to Tune."""

    def __init__(self, conductor: Conductor, root: Path, flags: StopFlags) -> None:
        super().__init__()
        self.conductor, self.root, self.flags = conductor, root, flags
        self.count = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores its searchers; a sweep goes on from the results store instead

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next segment's config, None while others have to end first, or Tune's last word."""
        match self.conductor.next():
            case Waiting.FOR_OTHERS:
                return None
            case Waiting.FOR_NOTHING:
                return str(Searcher.FINISHED)
            case segment:
                return self._assignment(segment).config()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The ledger has told the conductor."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep goes on from the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep goes on from the store."""

    def _assignment(self, segment: Segment) -> Assignment:
        self.count += 1
        trial = segment.trial
        self.flags.set([trial.id], raised=False)
        return Assignment(
            trial_id=trial.id,
            experiment=segment.experiment.model_dump_json(),
            folder=str(trial_folder(self.root, trial)),
            until=segment.until,
            segment=self.count,
        )


def end_process(place: dict[str, str]) -> None:
    """Kill a process on the node where it runs."""
    strategy = NodeAffinitySchedulingStrategy(place["node"], soft=False)
    task = ray.remote(_kill).options(num_cpus=0, scheduling_strategy=strategy)
    ray.get(task.remote(int(place["pid"])))


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _folder_name(trial: Any) -> str:
    return f"{trial.config['trial_id']}-{trial.config['segment']}"
