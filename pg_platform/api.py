"""What the commands do, for notebooks and scripts: `import pg_platform`.

Mistakes raise ConfigError or ValueError, a store or a cluster that fails InfrastructureError.
Results go to the store of `home`: PG_HOME, or else the folder runs/, see `store_root`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pg_platform.config.experiment import Experiment
from pg_platform.config.paths import absolute, store_root
from pg_platform.config.section import ConfigError
from pg_platform.data.identity import identity
from pg_platform.data.image_set import Images
from pg_platform.data.images import open_images
from pg_platform.driver.driver import Executor, SweepResult, TrainResult, run_train
from pg_platform.driver.driver import run_sweep as drive_sweep
from pg_platform.driver.resume import Retry
from pg_platform.evaluate import load_evaluation, targets
from pg_platform.evaluation.messages import play_images
from pg_platform.evaluation.result import Measured
from pg_platform.evaluation.trained import Trained, load_trained
from pg_platform.methods import Method
from pg_platform.report.comparison import compare
from pg_platform.report.report import planned_trials, run_last
from pg_platform.report.summary import answer
from pg_platform.store.runs import TrialRuns
from pg_platform.store.store import Store
from pg_platform.sweep.load import Sweep, find_sweep, is_collection
from pg_platform.sweep.load import load_sweep as read_sweep
from pg_platform.sweep.trials import Trial, single, trial_folder
from pg_platform.sweep.trials import plan as trials_of

Home = str | Path | None
"""The folder of a store; None for the one that the commands use."""


def load_sweep(sweep: str | Path, overrides: Sequence[str] = (), scale: str | None = None) -> Sweep:
    """A sweep by its file or by its name in sweeps/, every point of it checked.

    `overrides` are texts as of `--set`, "experiment.epochs=6"; `scale` names a form that the file
    has, as "small". ConfigError has all that is wrong, each with file, line and column.

    >>> sweep = load_sweep("smoke")
    >>> list(sweep.parameters)
    ['speaker.vocab_size']
    """
    path = find_sweep(str(sweep))
    if is_collection(path):
        raise ConfigError([f"{path}: is a list of sweeps; load one of them"])
    return read_sweep(path, overrides, scale)


def plan(sweep: Sweep) -> tuple[Trial, ...]:
    """All trials of a sweep, point by point: each is an experiment with a seed, and has an id.

    ValueError where the data cannot be had.

    >>> trials = plan(load_sweep("smoke", ["seeds=2"]))
    >>> trials[0].name, trials[1].name
    ('V=2 seed=0', 'V=2 seed=1')
    """
    return trials_of(sweep, identity)


def train(
    experiment: Experiment,
    name: str = "run",
    *,
    local: bool = True,
    address: str | None = None,
    home: Home = None,
) -> TrainResult:
    """Train one experiment, or go on with it from its last checkpoint; finished ones are reused.

    `local` trains without Ray, in a process of its own; else Ray does, on the cluster at
    `address` or on this machine. The result has the `run_id` and the `folder` of checkpoints;
    where training failed its `verdict.failed` has the error.
    """
    root = _root(home)
    with closing(Store.open(root)) as store:
        executor = _executor(root, local=local, address=address, worker_group=True)
        return run_train(single(experiment, name, identity), root, store, executor)


def run_sweep(
    sweep: Sweep,
    *,
    local: bool = False,
    address: str | None = None,
    home: Home = None,
    retry: Retry | None = None,
) -> SweepResult:
    """Run what is not finished of a sweep, on Ray or (`local`) trial by trial without it.

    The same call goes on where one was cut off. `retry` says which trials of earlier calls are
    run again. The result has the `table` of points and the `verdict` on the trials of this call.
    """
    root = _root(home)
    with closing(Store.open(root)) as store:
        executor = _executor(root, local=local, address=address, worker_group=False)
        return drive_sweep(sweep, root, store, executor, retry)


def results(
    sweep: Sweep | str, by: Literal["trial", "point"] = "trial", *, home: Home = None
) -> pd.DataFrame:
    """What the store has of a sweep, or of the one of that name that ran last.

    By trial: a row for each trial of the plan with its parameters, seed, status, run id, folder of
    checkpoints and the last value of every metric. By point: a row for each point with n, mean,
    sd, 95 % interval, the difference from the baseline, and its p, corrected by Holm;
    `attrs["answer"]` is the sentence that the command prints. ValueError without such a run.
    """
    root = _root(home)
    found = run_last(root, sweep) if isinstance(sweep, str) else sweep
    with closing(Store.open(root)) as store:
        if found is None:
            raise ValueError(f"{store.uri} holds no run of a sweep called {sweep}")
        runs = TrialRuns.found(store, found, partial(trial_folder, root))
        trials = planned_trials(runs, found)
        stored = {run.tags["pg.trial_id"]: run for run in store.trials(runs.parent or "")}
        if by == "point":
            compared = compare(trials, stored, found.metric, found.file.baseline, store.history)
            table = compared.table()
            frame = pd.DataFrame(list(table.rows), columns=list(table.columns))
            frame.attrs["answer"] = answer(compared)
            return frame
    rows = []
    for trial in trials:
        run = stored.get(trial.id)
        facts: dict[str, Any] = {"trial": trial.name, **trial.point, "seed": trial.seed}
        facts |= {"status": run.status if run else "NOT STARTED", "run_id": run and run.run_id}
        facts |= {"checkpoints": str(trial_folder(root, trial)) if run else None}
        rows.append(facts | (run.metrics if run else {}))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Messages:
    """What a speaker says of n images; its most probable message of each.

    `symbols` (n, patches, symbols per patch) int64, of unsent patches too; `sent` (n, patches)
    bool, row by row from the upper left; `importance` (n, patches) float32.
    """

    symbols: NDArray[np.int64]
    sent: NDArray[np.bool_]
    importance: NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """A trained run: its experiment, its networks in evaluation mode, and what can be asked."""

    run_id: str | None
    """None for a folder of checkpoints that the store does not know."""
    trained: Trained

    @property
    def experiment(self) -> Experiment:
        """As it was trained."""
        return self.trained.experiment

    @property
    def method(self) -> Method:
        """The game, or a baseline: a torch module."""
        return self.trained.method

    def messages(
        self, images: Tensor | Sequence[Image.Image] | Literal["train", "val"]
    ) -> Messages:
        """The messages about `images` in the plain view, without noise.

        `images` are (n, 3, h, w), bytes or floats from 0 to 1, or pictures of PIL, or the name of a
        split of the run's own data. Each is resized to the side that the run was trained with.
        """
        if isinstance(images, str):
            shown = open_images(self.experiment.data, images)
        else:
            shown = _held(images, self.experiment.data.image_size)
        said = play_images(self.trained, shown)
        return Messages(said.ids.numpy(), said.gate.bool().numpy(), said.importance.float().numpy())

    def evaluate(self, name: str, **options: Any) -> Measured:
        """What the evaluation `name` of evals/ finds, with its `metrics`, `tables` and `figures`.

        Nothing is stored; pg-eval writes to the run.
        """
        evaluation = load_evaluation(name)
        return evaluation.evaluate(self.trained, evaluation.Options.model_validate(options))


def load_run(run: str | Path, *, device: str = "cpu", home: Home = None) -> Run:
    """A run by its id in the store, or by the folder of its checkpoints.

    ValueError where there is none, or where a name stands for several.
    """
    with closing(Store.open(_root(home))) as store:
        found = list(targets(store, str(run)))
    if len(found) > 1:
        raise ValueError(f"{run} stands for {len(found)} runs; give the id of one")
    ((run_id, _, folder),) = found
    return Run(run_id, load_trained(folder, torch.device(device)))


def _root(home: Home) -> Path:
    return store_root() if home is None else Path(absolute(str(home)))


def _executor(root: Path, *, local: bool, address: str | None, worker_group: bool) -> Executor:
    if local:
        if address is not None:
            raise ValueError(f"local=True runs no Ray, and {address} is a cluster; give one")
        from pg_platform.driver.local import LocalExecutor

        return LocalExecutor(root)
    from pg_platform.driver.environment import prepare

    os.environ["PG_HOME"] = str(root)  # for the processes of Ray
    prepare(address)  # before Ray is imported
    from pg_platform.cluster.executor import RayExecutor

    return RayExecutor(root, worker_group=worker_group)


def _held(images: Tensor | Sequence[Image.Image], side: int) -> Images:
    """Images in memory as a split is: (n, 3, side, side) uint8."""
    if isinstance(images, Tensor):
        pixels = images if images.is_floating_point() else images / 255
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"images want the shape (n, 3, h, w), got {tuple(images.shape)}")
        if pixels.shape[2:] != (side, side):
            size = (side, side)
            pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        bytes_ = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    else:
        shown = [
            one.convert("RGB").resize((side, side), Image.Resampling.BILINEAR) for one in images
        ]
        bytes_ = torch.from_numpy(np.stack([np.asarray(one) for one in shown])).permute(0, 3, 1, 2)
    count = len(bytes_)
    return Images(
        classes=(),
        labels=torch.full((count,), -1),
        ids=[str(n) for n in range(count)],
        pixels=bytes_.contiguous(),
    )
