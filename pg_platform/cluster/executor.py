"""Tune executes what the scheduler starts."""

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
from pg_platform.cluster.ray_cluster import (
    DRIVER_RESOURCE,
    ClusterError,
    Drains,
    check_capacity,
    ray_cluster,
)
from pg_platform.cluster.stop_flag import StopFlags
from pg_platform.cluster.tune_callback import TuneCallback
from pg_platform.config.experiment import Resources
from pg_platform.driver.control import INTERRUPTS, Control, obey
from pg_platform.driver.scheduler import Scheduler, Segment, Waiting
from pg_platform.driver.watchdog import GOES_ON, DriverGuard
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
    """Runs segments on Ray until the scheduler has no more."""

    def __init__(self, root: Path, *, worker_group: bool = False) -> None:
        """`root` holds checkpoints and Tune's own files; `worker_group` forces a TorchTrainer."""
        self.root, self.worker_group = root, worker_group

    def run(self, scheduler: Scheduler, resources: Resources, control: Control) -> None:
        """Run to the end, or until a signal or a request from elsewhere.

        Raises ClusterError where Ray cannot be had or no node can hold a worker. Where Ray dies
        meanwhile the process ends, see `watchdog`.
        """
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the callback tells of deaths
        with ray_cluster() as health:
            guard = DriverGuard(
                grace=scheduler.grace,
                running=lambda: bool(scheduler.running),
                died=health.gone,
                unread=control.unread,
            )
            with INTERRUPTS.patient(guard):
                self._run(scheduler, resources, control, guard)

    def _run(
        self, scheduler: Scheduler, resources: Resources, control: Control, guard: DriverGuard
    ) -> None:
        check_capacity(request(resources))
        flags, drains = StopFlags(), Drains()

        def look_around() -> None:
            guard.turn()
            for trial in callback.on_nodes(drains.new()):
                scheduler.record.say(f"{trial.name}: its node is drained; it leaves a checkpoint")
                flags.save([trial.id])
            if guard.asked and scheduler.closed is None:
                scheduler.record.verdict.stopped = True
                scheduler.close("interrupted")
                flags.set(list(scheduler.running), raised=True)
            obey(scheduler, control, lambda ids: flags.set(ids, raised=True), guard.ask)
            for trial in scheduler.hung():
                if (place := callback.places.get(trial.id)) is None:
                    scheduler.record.say(f"{trial.name}: silent, and its process not known yet")
                    continue
                scheduler.record.hang(trial, scheduler.rules.stall_after)
                end_process(place)

        callback = TuneCallback(scheduler, look_around)
        guard.turn()
        try:
            self._tuner(scheduler, resources, callback, flags).fit()
        except (RayError, tune.TuneError, RuntimeError, OSError) as error:
            INTERRUPTS.watchdog.settle()  # where Ray has died that is what is told
            if isinstance(error, RayError):
                told = str(error).partition("\n")[0]
                raise ClusterError(f"Ray failed: {told}; {GOES_ON}") from error
            raise

    def _tuner(
        self, scheduler: Scheduler, resources: Resources, callback: TuneCallback, flags: StopFlags
    ) -> tune.Tuner:
        scratch = self.root / "tune" / str(os.getpid())
        shutil.rmtree(scratch, ignore_errors=True)
        nested = self.worker_group or resources.workers > 1
        trainable = on_workers(resources, scratch) if nested else in_process(resources)
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=Segments(scheduler, self.root, flags),
                num_samples=-1,  # as many as the scheduler starts
                reuse_actors=not nested,  # hangs with worker groups that are stopped early
                trial_dirname_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=scheduler.rules.max_failures),
            ),
        )


class Segments(Searcher):
    """Hands Tune the scheduler's segments; each is a trial to Tune."""

    def __init__(self, scheduler: Scheduler, root: Path, flags: StopFlags) -> None:
        super().__init__()
        self.scheduler, self.root, self.flags = scheduler, root, flags
        self.count = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune stores its searchers; a sweep goes on from the results store instead

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next segment's config, None while others have to end first, or Tune's last word."""
        match self.scheduler.next():
            case Waiting.FOR_OTHERS:
                return None
            case Waiting.FOR_NOTHING:
                return str(Searcher.FINISHED)
            case segment:
                return self._assignment(segment).config()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The callback has told the scheduler."""

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
