"""The platform from Python: what the commands do, for a script or a notebook.

Nothing here exits, takes signals or writes over the screen. What is wrong is raised: ConfigError
(a file or an option), DataError (images), CheckpointError, AlreadyRunningError, InfrastructureError
(Ray, the store, a disk), TrialFailedError, or ValueError with a remedy.

`home` is the folder of results: PG_HOME, else `runs/`, where it is not given. With `local=True`
trials run one after the other in a process beside this one, without Ray; else on the Ray cluster
at `address`, or on a private one of this machine. Ctrl-C raises KeyboardInterrupt as ever, and the
same call goes on from the last checkpoints.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pg_platform.config.errors import ConfigError, InfrastructureError
from pg_platform.config.paths import absolute, store_root, sweeps

if TYPE_CHECKING:
    import pandas as pd

    from pg_platform.config.experiment import Experiment
    from pg_platform.data.listing import Split
    from pg_platform.driver.driver import Executor, SweepResult, TrainResult
    from pg_platform.driver.dry_run import DryRun
    from pg_platform.driver.live_table import Output
    from pg_platform.driver.resume import Retry
    from pg_platform.evaluation.messages import Messages, Pictures
    from pg_platform.evaluation.result import EvaluationResult
    from pg_platform.evaluation.trained import Trained
    from pg_platform.methods import Method
    from pg_platform.sweep.load import Sweep

PathLike = str | os.PathLike[str]
Overrides = Sequence[str] | Mapping[str, Any]
"""Values that replace those of a file: `["epochs=2"]`, or the same as `{"epochs": 2}`."""


def load_experiment(path: PathLike, overrides: Overrides = ()) -> Experiment:
    """The experiment in a YAML file, over the recipe that it names; `overrides` on top.

    Raises ConfigError with all that is wrong, each problem with its line.

    >>> experiment = load_experiment("examples/digits.yaml", {"speaker.vocab_size": 16})
    >>> experiment.speaker.vocab_size
    16
    """
    from pg_platform.sweep import load

    file = Path(path)
    if not file.is_file():
        raise ConfigError([f"no file {file}; examples/digits.yaml is one to start from"])
    return load.load_experiment(file, as_texts(overrides))


def load_sweep(path: PathLike, overrides: Overrides = (), scale: str | None = None) -> Sweep:
    """The sweep in a YAML file, by its path or its name in sweeps/; in its form `scale`.

    Every combination of values is checked. Raises ConfigError with all that is wrong, also for a
    list of sweeps, as paper.yaml.

    >>> sweep = load_sweep("smoke", ["seeds=3"])
    >>> len(sweep.points), sweep.seeds
    (3, (0, 1, 2))
    """
    name, there = load_sweeps(path, overrides, scale)
    if name is not None:
        listed = ", ".join(sweep.name for sweep in there)
        raise ConfigError([f"{path} is a list of sweeps; load one of {listed}"])
    return there[0]


def load_sweeps(
    path: PathLike, overrides: Overrides = (), scale: str | None = None
) -> tuple[str | None, list[Sweep]]:
    """None and the sweep in a file, or the name of a list of sweeps and all of them."""
    from pg_platform.sweep import load

    file, sets = find_sweep(path), as_texts(overrides)
    if not load.is_collection(file):
        return None, [load.load_sweep(file, sets, scale)]
    name, files = load.load_collection(file)
    there = [load.load_sweep(each, sets, scale) for each in files]
    return name_of_list(name if scale is None else f"{name}_{scale}", there), there


def train(  # noqa: PLR0913 - most of them by keyword
    experiment: Experiment,
    name: str = "run",
    *,
    local: bool = False,
    address: str | None = None,
    home: PathLike | None = None,
    output: Output = "lines",
) -> TrainResult:
    """Train one experiment to its last epoch, from its last checkpoint where it has one.

    One that is finished is not run again. The result has `run_id`, to be given to `load_run`, and
    `folder`, where the checkpoints lie. Raises TrialFailedError where it fails.

    >>> result = train(load_experiment("examples/digits.yaml"), local=True)  # doctest: +SKIP
    >>> load_run(result.run_id).evaluate("knn").metrics  # doctest: +SKIP
    """
    from pg_platform.data.identity import identity
    from pg_platform.driver.driver import TrialFailedError, run_train
    from pg_platform.store.store import Store
    from pg_platform.sweep.trials import single

    root = home_of(home)
    trial = single(experiment, name, identity)
    executor = _executor(root, local=local, address=address, worker_group=True)
    with closing(Store.open(root)) as store:
        result = run_train(trial, root, store, executor, output=output)
    if (what := result.verdict.infrastructure) is not None:
        raise InfrastructureError(f"{what}\n{MAKE_ROOM}")
    for error in result.verdict.failed.values():
        raise TrialFailedError(name, error, result)
    return result


MAKE_ROOM = "make room, then give the same command: nothing is lost"


def plan(
    sweep: Sweep,
    *,
    slots: int | None = None,
    calibrate: bool = False,
    retry: Retry | None = None,
    home: PathLike | None = None,
) -> DryRun:
    """The trials of a sweep, which of them would run now and at what cost; starts nothing.

    `slots` trials at a time; `calibrate` times a few steps of shapes that no run tells of.

    >>> print(*plan(load_sweep("smoke")).listing(), sep="\\n")  # doctest: +SKIP
    """
    from pg_platform.driver.dry_run import dry_run
    from pg_platform.driver.resume import Retry

    return dry_run(sweep, home_of(home), retry or Retry(), slots=slots, calibrated=calibrate)


def run_sweep(  # noqa: PLR0913 - all but one by keyword
    sweep: Sweep,
    *,
    local: bool = False,
    address: str | None = None,
    retry: Retry | None = None,
    home: PathLike | None = None,
    output: Output = "lines",
) -> SweepResult:
    """Run what is not finished of a sweep; the same call continues and extends it.

    A trial that fails does not end the others, and nothing is raised for it: `verdict` has the
    trials by how they ended, `table` the comparison, None where there is no result yet.

    >>> run_sweep(load_sweep("smoke"), local=True).verdict.failed  # doctest: +SKIP
    {}
    """
    from pg_platform.driver import driver
    from pg_platform.store.store import Store

    root = home_of(home)
    executor = _executor(root, local=local, address=address)
    with closing(Store.open(root)) as store:
        return driver.run_sweep(sweep, root, store, executor, retry, output=output)


def results(
    sweep: Sweep | PathLike,
    by: Literal["trial", "point"] = "trial",
    *,
    home: PathLike | None = None,
) -> pd.DataFrame:
    """What the store has of a sweep: a row a trial, or a row a point with its statistics.

    A name stands for the sweep as it was run last. Rows of trials have trial, id, run_id, state,
    the values that vary, the seed and every metric as it was reported last. Rows of points have
    these values, n, mean, sd, ci_low and ci_high over the seeds (Student's 95 %), and the
    difference to the baseline paired by seed, with its interval, its p (Holm) and a verdict;
    `attrs["answer"]` says it in words. Raises ValueError where the store has no run of it.

    >>> results("smoke", by="point")[["vocab_size", "mean", "p"]]  # doctest: +SKIP
    """
    import pandas as pd

    from pg_platform.report.comparison import compare, trial_table
    from pg_platform.report.report import trials_and_runs
    from pg_platform.report.summary import answer
    from pg_platform.store.store import Store

    if by not in ("trial", "point"):
        raise ValueError(f"by: wants 'trial' or 'point', got {by!r}")
    root = home_of(home)
    asked = sweep if not isinstance(sweep, str | os.PathLike) else _run_last(sweep, root)
    with closing(Store.open(root)) as store:
        trials, runs = trials_and_runs(store, asked, root)
        if by == "trial":
            table, told = trial_table(trials, runs, asked.metric, store.history), ""
        else:
            metric, baseline = asked.metric, asked.file.baseline
            compared = compare(trials, runs, metric, baseline, store.history)
            table, told = compared.table(), answer(compared)
    frame = pd.DataFrame(list(table.rows), columns=list(table.columns))
    frame.attrs = {"answer": told} if told else {}
    return frame


@dataclass(frozen=True)
class Run:
    """A trained run: its experiment, its method, and what can be asked of it."""

    run_id: str | None
    """Its id in the store; None for a folder that the store does not know."""
    name: str
    home: Path
    trained: Trained = field(repr=False)

    @property
    def experiment(self) -> Experiment:
        """All that was asked of it."""
        return self.trained.experiment

    @property
    def method(self) -> Method:
        """The torch module with its weights, in evaluation mode."""
        return self.trained.method

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoint that was loaded."""
        return self.trained.path

    def messages(self, images: Pictures | None = None, *, split: Split = "val") -> Messages:
        """What the speaker says of n images, each in the plain view.

        `images` are a tensor (n, 3, h, w), uint8 or floats in [0, 1], one PIL image or several, a
        folder as `data.kind: image_folder` wants it, of which `split` is taken, or "train" or "val"
        for a split of the run's own images, as None is. The result has `symbols` (n, patches,
        symbols per patch) and `gates` (n, patches), which patches were sent. Raises DataError or
        ValueError.
        """
        from pg_platform.evaluation.messages import Messages, as_images, play_images

        given = as_images(images, self.trained.game.experiment, split)
        return Messages.of(play_images(self.trained, given), self.trained)

    def evaluate(self, name: str, **options: Any) -> EvaluationResult:
        """What the evaluation `name` of evals/ finds; kept with the run, as pg-eval keeps it.

        `options` are those of the evaluation. The result has `metrics`, `tables`, `figures` and
        `words`. Raises ConfigError for a wrong option, ValueError for a name that is none.
        """
        from pg_platform.evaluate import evaluate_run
        from pg_platform.store.store import Store

        with closing(Store.open(self.home)) as store:
            return evaluate_run(
                store, self.run_id, self.name, self.trained, name, as_texts(options)
            )


def load_run(
    target: PathLike,
    *,
    device: str = "cpu",
    moved: Mapping[str, str] | None = None,
    home: PathLike | None = None,
) -> Run:
    """A trained run, by its id in the store or the folder of its checkpoints, on `device`.

    `moved` says where its images lie now, as {"path": FOLDER}. Raises CheckpointError where there
    is no checkpoint, ValueError where `target` is not one finished run.

    >>> run = load_run("runs/trials/0123456789ab")  # doctest: +SKIP
    >>> run.messages(split="val").symbols.shape  # doctest: +SKIP
    (359, 16, 1)
    """
    import torch

    from pg_platform.evaluate import check_images, targets
    from pg_platform.evaluation.trained import load_trained
    from pg_platform.store.store import Store

    root = home_of(home)
    with closing(Store.open(root)) as store:
        found = list(targets(store, os.fspath(target)))
        if len(found) > 1:
            listed = "\n  ".join(f"{run_id}  {name}" for run_id, name, _ in found)
            raise ValueError(f"{target} stands for {len(found)} runs; load one of\n  {listed}")
        ((run_id, name, folder),) = found
        trained = load_trained(folder, torch.device(device), moved or {})
        if moved and run_id is not None:
            check_images(store, run_id, name, trained)
    if trained.older is not None:
        warnings.warn(trained.older, stacklevel=2)
    return Run(run_id, name, root, trained)


def as_texts(overrides: Overrides) -> list[str]:
    """Overrides as KEY=VALUE, the values in JSON, which is YAML."""
    if isinstance(overrides, str):
        return [overrides]
    if isinstance(overrides, Mapping):
        return [f"{k}={json.dumps(v, default=os.fspath)}" for k, v in overrides.items()]
    return list(overrides)


def home_of(home: PathLike | None) -> Path:
    """The folder of results, absolute."""
    return store_root() if home is None else Path(absolute(os.fspath(home))).resolve()


def find_sweep(name: PathLike) -> Path:
    """A file by its path or by its name in sweeps/, with or without .yaml; ConfigError for none."""
    places = (Path(name), sweeps() / name, sweeps() / f"{os.fspath(name)}.yaml")
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        known = "\n  ".join(sorted(path.name for path in sweeps().glob("*.yaml")))
        raise ConfigError([f"no file {name} here or in {sweeps()}; there:\n  {known}"])
    return found


def name_of_list(name: str, there: Sequence[Sweep]) -> str:
    """The name of a list of sweeps, with what was set of all of them."""
    variants = dict.fromkeys(each.file.variant for each in there if each.file.variant)
    return f"{name} ({next(iter(variants))})" if variants else name


def _run_last(name: PathLike, root: Path) -> Sweep:
    """The sweep of that name as it was run last, else as its file is now."""
    from pg_platform.report.report import run_last

    if not Path(name).is_file() and (found := run_last(root, os.fspath(name))) is not None:
        return found
    sweep = load_sweep(name)
    return run_last(root, sweep.name, sweep) or sweep


def _executor(
    root: Path, *, local: bool, address: str | None, worker_group: bool = False
) -> Executor:
    """What runs trials. Ray is imported here, after what it reads from the environment is set."""
    if local:
        if address is not None:
            raise ConfigError([f"address={address}: local=True asks no Ray cluster; leave one out"])
        from pg_platform.driver.local import LocalExecutor

        return LocalExecutor(root)
    from pg_platform.driver.environment import prepare

    prepare(address, root)
    from pg_platform.cluster.executor import RayExecutor

    return RayExecutor(root, worker_group=worker_group)
