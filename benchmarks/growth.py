"""How the cost of a step grows with vocabulary, symbols a patch, patches, image size and workers.

    python -m benchmarks.growth [--figure FILE.png] [--quick]

Each axis is varied alone, around 64 px, patches of 8, V = 128, l = 1 and a batch of 16. The
exponent is the slope of log seconds on log of the axis over its last three values. Costs that
grow no faster than the work they are made of have exponents of at most: 1 for V and l (the text
transformer reads K l symbols, with attention in its square at long messages), 1 for K, 2 for the
side of the image. The last line tells the largest exponent over that bound.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from matplotlib.figure import Figure
from torch.multiprocessing.spawn import spawn

from benchmarks.interleaved import medians, verdict
from pg_platform.config.experiment import Experiment
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training.gradients import Gradients
from pg_platform.training.optimizer import build_optimizer
from pg_platform.training.worker import Worker

BATCH, QUICK_BATCH = 16, 8
AXES: Mapping[str, tuple[str, tuple[int, ...], float]] = {
    "vocabulary V": ("speaker.vocab_size", (128, 1024, 8192, 65536), 1),
    "symbols a patch l": ("speaker.symbols_per_patch", (1, 2, 4, 8), 1),
    "patches K": ("speaker.patch_size", (32, 16, 8, 4), 1),
    "image side": ("data.image_size", (64, 96, 128, 256), 2),
}
"""Name, key, values, and the exponent that the work itself has."""


def main() -> None:
    """Print a table and the exponents; draw them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path, help="where to draw the table")
    parser.add_argument("--quick", action="store_true", help="three values an axis, half the batch")
    options = parser.parse_args()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    count, batch = (3, QUICK_BATCH) if options.quick else (4, BATCH)
    costs = {name: _costs(key, values[:count], batch) for name, (key, values, _) in AXES.items()}
    excess = {}
    for name, cost in costs.items():
        exponent = _exponent(cost)
        excess[name] = exponent / AXES[name][2]
        told = "  ".join(f"{at}: {seconds * 1e3:.0f} ms" for at, seconds in cost.items())
        print(f"{name:<18} exponent {exponent:>5.2f}   {told}")
    alone, two = (_workers(count, batch) for count in (1, 2))
    print(f"workers            1: {alone * 1e3:.0f} ms  2: {two * 1e3:.0f} ms, one thread each")
    if options.figure is not None:
        _draw(costs).savefig(options.figure)
    print(verdict("growth", max(excess.values()), "<= 1.2"))


def _costs(key: str, values: tuple[int, ...], batch: int) -> dict[int, float]:
    """Seconds of a step at each value; of patch sizes, at each number of patches."""
    cpu = Worker(torch.device("cpu"))
    steps = {value: _Step(_experiment(key, value, batch), cpu) for value in values}
    seconds = medians({str(value): step for value, step in steps.items()}, 5)
    patches = key == "speaker.patch_size"
    return {
        step.experiment.patches if patches else value: seconds[str(value)]
        for value, step in steps.items()
    }


def _experiment(key: str, value: int, batch: int) -> Experiment:
    section, name = key.split(".")
    settings: dict[str, Any] = {
        "batch_size": batch,
        "precision": "float32",
        "data": {"kind": "shapes", "image_size": 64},
        "speaker": {"patch_size": 8, "rank": {"width": 32}},
        "listener": {"text": {"depth": 4}, "vision": {"width": 32}},
    }
    settings[section] = {**settings[section], name: value}
    return Experiment.model_validate(settings)


class _Step:
    def __init__(self, experiment: Experiment, place: Worker) -> None:
        self.experiment = experiment
        self.method = build(experiment).train()
        self.optimizer = build_optimizer(self.method, experiment)
        self.gradients = Gradients(self.method, experiment, place)
        share = experiment.batch_size // place.world
        side = experiment.data.image_size
        self.views = (torch.randn(share, 3, side, side), torch.randn(share, 3, side, side))
        self.noise = Noise(0, 0, range(place.rank * share, (place.rank + 1) * share), place.device)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.gradients.of(self.views, 0.1, self.noise)
        self.optimizer.step()


def _workers(count: int, batch: int) -> float:
    """Seconds of a step of the whole batch on so many workers of one thread each."""
    results = torch.zeros(1).share_memory_()
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, args=(count, batch, f"file://{folder}/meeting", results), nprocs=count)
    return float(results)


def _work(rank: int, count: int, batch: int, meeting: str, results: torch.Tensor) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    place = Worker(torch.device("cpu"), rank, count)
    step = _Step(_experiment("speaker.patch_size", 8, batch), place)
    seconds = medians({"step": step}, 5)["step"]
    if rank == 0:
        results[0] = seconds
    dist.destroy_process_group()


def _exponent(cost: Mapping[int, float]) -> float:
    last = list(cost.items())[-3:]
    x, y = ([math.log(pair[i]) for pair in last] for i in range(2))
    return statistics.linear_regression(x, y).slope


def _draw(costs: Mapping[str, Mapping[int, float]]) -> Figure:
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, (name, cost) in zip(
        figure.subplots(1, len(costs), sharey=True), costs.items(), strict=True
    ):
        axes.loglog(list(cost), list(cost.values()), "o-")
        axes.set_xticks(list(cost), labels=[f"{value:,}" for value in cost], rotation=30)
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axes.set_xlabel(name)
        axes.set_title(f"exponent {_exponent(cost):.2f}", fontsize=9)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds a step")
    return figure


if __name__ == "__main__":
    main()
