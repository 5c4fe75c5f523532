"""What a trial of a sweep costs beyond its steps: pg-sweep, raw Tune functions, raw trainers.

    python -m benchmarks.sweep_overhead [--quick | --wall]

Each contender runs 16 tiny trials in a process of its own, whose CPU time and that of all its
descendants is counted (this process is their subreaper). The steps are those of a plain loop over
the same trials. Cold: all that the sweep costs beyond the steps, by its trials. Warm: what a trial
adds once things run, from the end of the fourth trial to that of the fourteenth. The long form
takes medians, adds trainers once, and the wall time of 16 trials of 20 s on two slots: over that of
one trial alone in a plain loop, and over that of two plain loops side by side: what cores give.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.interleaved import verdict
from pg_platform.config.experiment import Experiment

TRIALS, SLOTS, REPEATS = 16, 2, 5
WARM_FROM, WARM_TO = 4, 14
ENDED = "finished"
"""A line of a contender's output with this word tells of a trial that has ended."""
_SAID = "PG_BENCHMARK_SAID"
_POLL_SECONDS = 0.02
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


class Cost(NamedTuple):
    """Of one run of a contender: CPU-s a trial, all told and from the 4th to the 14th; wall s."""

    cold: float
    warm: float
    wall: float


def main() -> None:
    """Print what each contender costs a trial. The ratio: our warm CPU-s, or wall over ideal."""
    parser = argparse.ArgumentParser(description=__doc__)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--quick", action="store_true", help="one run of ours and of the loop")
    part.add_argument("--wall", action="store_true", help="the wall time only, in a quarter hour")
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.play:
        name, count, epochs = asked.play
        CONTENDERS[name](int(count), int(epochs))
        return
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    if asked.wall:
        print(verdict("sweep_overhead (wall)", _wall(), "<= 1.10"))
        return
    names = ["loop", "ours"] if asked.quick else ["loop", "ours", "functions", "trainers"]
    warm = _cpu(names, 1 if asked.quick else REPEATS)
    if asked.quick:
        print(verdict("sweep_overhead (warm CPU-s a trial, over 1)", warm, "<= 1"))
        return
    print(verdict("sweep_overhead", _wall(), "<= 1.10"))


def _cpu(names: Sequence[str], repeats: int) -> float:
    """Print medians of CPU-s a trial beyond its steps; returns our warm one."""
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for round_ in range(repeats):
        for name in names:
            if name != "trainers" or not round_:  # they take minutes, and differ by far
                costs[name].append(measured(name))
    steps = statistics.median(cost.warm for cost in costs["loop"])
    print(f"steps of a trial: {steps:.2f} CPU-s; medians of {repeats}")
    warm: dict[str, float] = {}
    for name in names[1:]:
        cold = statistics.median(cost.cold for cost in costs[name]) - steps
        each = [cost.warm - steps for cost in costs[name]]
        warm[name] = statistics.median(each)
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name:<10} cold {cold:6.2f}, warm {warm[name]:6.2f} ({spread}) CPU-s a trial")
    return warm["ours"]


def _wall() -> float:
    """Print the wall time of trials of 20 s; ours over one trial alone, times trials by slots."""
    epochs = _epochs_of(20.0)
    alone = measured("loop", 1, epochs).wall - measured("loop", 1, 1).wall
    ideal = alone * TRIALS / SLOTS
    swept = {name: measured(name, TRIALS, epochs).wall for name in ("ours", "functions")}
    pair = _side_by_side(epochs)
    print(f"{TRIALS} trials of {alone:.1f} s on {SLOTS} slots: ideal {ideal:.1f} s")
    for name, wall in {**swept, "two plain loops": pair}.items():
        print(f"{name:<15} {wall:6.1f} s, {wall / ideal:.2f} of ideal, {wall / pair:.2f} of loops")
    return swept["ours"] / ideal


def _side_by_side(epochs: int) -> float:
    """Wall seconds of a plain loop on each slot."""
    started = time.perf_counter()
    command = _command("loop", TRIALS // SLOTS, epochs)
    loops = [
        subprocess.Popen(command, env=_environment() | {_SAID: os.devnull}) for _ in range(SLOTS)
    ]
    assert [loop.wait() for loop in loops] == [0] * SLOTS
    return time.perf_counter() - started


def measured(name: str, count: int = TRIALS, epochs: int | None = None) -> Cost:
    """One run of a contender, and of all that it starts."""
    started, meter = time.perf_counter(), _Meter()
    at: dict[int, float] = {}
    with tempfile.NamedTemporaryFile("ab") as said, tempfile.TemporaryFile() as wrong:
        playing = subprocess.Popen(
            _command(name, count, epochs),
            stdout=said,
            stderr=wrong,
            env=_environment() | {_SAID: said.name},
        )
        while playing.poll() is None:
            used = meter.look()
            at.setdefault(Path(said.name).read_text(errors="replace").count(ENDED), used)
            time.sleep(_POLL_SECONDS)
        wall = time.perf_counter() - started
        wrong.seek(0)
        assert playing.returncode == 0, wrong.read().decode()
    _wait_for_the_rest()
    cold = meter.look() / count
    warm = (_mark(at, WARM_TO) - _mark(at, WARM_FROM)) / (WARM_TO - WARM_FROM)
    return Cost(cold, warm if count >= WARM_TO else float("nan"), wall)


class _Meter:
    """CPU-seconds of everything below this process, ended or not, since this was made.

    Looked at often: what a process used after the last look is lost, and so is one that nobody saw.
    The kernel's own sums are no use, since Ray's processes are not all waited for by their parents.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[int, float], float] = {}

    def look(self) -> float:
        """The sum so far."""
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                self.seen[child.pid, child.create_time()] = times.user + times.system
        return sum(self.seen.values())


def _mark(at: dict[int, float], ended: int) -> float:
    """CPU-s when `ended` trials had ended; two that end between two looks have one mark."""
    return next((used for number, used in sorted(at.items()) if number >= ended), float("nan"))


def _command(name: str, count: int, epochs: int | None) -> list[str]:
    words = [name, str(count), str(epochs or SMALL["epochs"])]
    return [sys.executable, "-m", "benchmarks.sweep_overhead", "--play", *words]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _wait_for_the_rest() -> None:
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

    from pg_platform.cli.sweep import sweep

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
        tune.Tuner(
            tune.with_resources(trial, {"CPU": 1}),
            param_space=space,
            # A trainer's trial holds a CPU beside its worker's: more at a time wait for ever.
            tune_config=tune.TuneConfig(max_concurrent_trials=SLOTS),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    ray.shutdown()


def _train(config: dict[str, Any]) -> None:
    """One trial."""
    from pg_platform.training.loop import train
    from pg_platform.training.worker import local_worker

    asked = {**SMALL, "seed": config["number"], "epochs": config["epochs"]}
    experiment = Experiment.model_validate(asked)
    train(
        experiment,
        Path(config["folder"]) / str(config["number"]),
        place=local_worker(experiment.resources),
        report=lambda _: None,
        should_stop=lambda: False,
    )
    with open(os.environ[_SAID], "a") as said:
        said.write(f"{ENDED}\n")


def _epochs_of(seconds: float) -> int:
    """How many epochs take so long: a guess from ten, then from as many as take a quarter."""
    start, epochs = measured("loop", 1, 1).wall, 10
    for wanted in (seconds / 4, seconds):
        taken = measured("loop", 1, epochs).wall - start
        epochs = max(2, 1 + round((epochs - 1) * wanted / taken))
    return epochs


CONTENDERS = {"loop": loop, "ours": ours, "functions": functions, "trainers": trainers}

if __name__ == "__main__":
    main()
