"""What a trial of a sweep costs beyond its steps: pg-sweep, raw Tune functions, raw trainers.

    python -m benchmarks.sweep_overhead [--quick]

Each contender runs tiny trials in a process of its own, whose CPU time and that of all its
descendants is counted (it is their subreaper). The steps are those of a plain loop over the same
trials. Cold: all that a sweep of 16 costs beyond the steps, by its trials. Warm: what each further
trial adds, from sweeps of two sizes. The long form adds the wall time of trials of 20 s against the
plain loop divided by the slots.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.interleaved import verdict
from pg_platform.config.experiment import Experiment

FEW, MANY, TRAINERS, SLOTS = 4, 16, 2, 2
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 64,
    "precision": "float32",
    "data": {"kind": "shapes", "image_size": 16, "count": 400, "val_fraction": 0.3},
    "speaker": {"patch_size": 8, "symbol": {"hidden": 16}, "rank": {"width": 4}},
    "listener": {
        "text": {"width": 16, "depth": 1, "heads": 2},
        "vision": {"width": 4},
        "head": {"hidden": 16, "out": 8},
    },
    "validation": {"pool_size": 64},
}


def main() -> None:
    """Print what each contender costs a trial; the ratio is that of the warm costs or the wall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="CPU time only, no trials of 20 s")
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.play:
        name, count, epochs = asked.play
        CONTENDERS[name](int(count), int(epochs))
        return
    loop = [measured("loop", count)[0] for count in (FEW, MANY)]
    steps = (loop[1] - loop[0]) / (MANY - FEW)
    print(f"steps of a trial: {steps:.2f} CPU-s")
    warm_of: dict[str, float] = {}
    for name, few, many in (
        ("ours", FEW, MANY),
        ("functions", FEW, MANY),
        ("trainers", 1, 1 + TRAINERS),
    ):
        small, large = (measured(name, count)[0] for count in (few, many))
        warm = warm_of[name] = (large - small) / (many - few) - steps
        print(f"{name:<10} cold {large / many - steps:6.2f}, warm {warm:6.2f} CPU-s a trial")
    if asked.quick:
        print(verdict("sweep_overhead", warm_of["ours"] / warm_of["functions"], "<= 1"))
        return
    epochs = _epochs_of(20.0)
    alone = measured("loop", 1, epochs)[1] - measured("loop", 1, 1)[1]
    swept = measured("ours", MANY, epochs)[1]
    print(f"{MANY} trials of {alone:.1f} s on {SLOTS} slots: {swept:.1f} s")
    print(verdict("sweep_overhead", swept / (alone * MANY / SLOTS), "<= 1.10"))


def measured(name: str, count: int, epochs: int | None = None) -> tuple[float, float]:
    """CPU-seconds and wall seconds of a contender and of all that it starts."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    words = [name, str(count), str(epochs or SMALL["epochs"])]
    command = [sys.executable, "-m", "benchmarks.sweep_overhead", "--play", *words]
    before, started = _children(), time.perf_counter()
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, check=False, stdout=said, stderr=said, env=_environment())
        said.seek(0)
        assert done.returncode == 0, said.read().decode()
    wall = time.perf_counter() - started
    _reap()
    return _children() - before, wall


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _children() -> float:
    """CPU-seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap() -> None:
    """Wait for the processes that the contender left, which are this one's children now."""
    with suppress(ChildProcessError):
        while True:
            os.wait()


def loop(count: int, epochs: int) -> None:
    """The trials one after the other, and nothing around them."""
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            _train({"number": number, "epochs": epochs, "folder": folder})


def ours(count: int, epochs: int) -> None:
    """A sweep file through pg-sweep's own driver."""
    import yaml

    from pg_platform.cli import sweep

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "overhead.yaml"
        words = {"name": "overhead", "seeds": count, "experiment": SMALL | {"epochs": epochs}}
        file.write_text(yaml.safe_dump(words))
        os.environ["PG_HOME"] = f"{folder}/home"
        sweep([str(file)], standalone_mode=False)


def functions(count: int, epochs: int) -> None:
    """Tune as its documentation has it, with a function for a trial."""
    _tuned(_train, count, epochs)


def trainers(count: int, epochs: int) -> None:
    """Tune as its documentation has it, with a TorchTrainer for a trial."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def trial(config: dict[str, Any]) -> None:
        TorchTrainer(
            _train,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(name=str(config["number"]), storage_path=config["folder"]),
        ).fit()

    _tuned(trial, count, epochs)


def _tuned(trial: Callable[[dict[str, Any]], None], count: int, epochs: int) -> None:
    import ray
    from ray import tune

    ray.init(num_cpus=SLOTS * 2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        space = {
            "number": tune.grid_search(list(range(count))),
            "epochs": epochs,
            "folder": folder,
        }
        run = tune.RunConfig(storage_path=folder, verbose=0)
        tune.Tuner(tune.with_resources(trial, {"CPU": 1}), param_space=space, run_config=run).fit()
    ray.shutdown()


def _train(config: dict[str, Any]) -> None:
    """One trial."""
    from pg_platform.training.loop import train
    from pg_platform.training.place import local_place

    asked = {**SMALL, "seed": config["number"], "epochs": config["epochs"]}
    experiment = Experiment.model_validate(asked)
    train(
        experiment,
        Path(config["folder"]) / str(config["number"]),
        place=local_place(experiment.resources),
        report=lambda _: None,
        should_stop=lambda: False,
    )


def _epochs_of(seconds: float) -> int:
    """How many epochs take so long, from a run of ten."""
    ten = measured("loop", 1, 10)[1] - measured("loop", 1, 1)[1]
    return max(2, round(9 * seconds / ten))


CONTENDERS = {"loop": loop, "ours": ours, "functions": functions, "trainers": trainers}

if __name__ == "__main__":
    main()
