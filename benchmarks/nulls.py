"""How often a verdict is given where there is nothing to tell apart: real runs that differ by seed.

    python -m benchmarks.nulls [--train FILE]

`--train` plays the runs and writes what they measured to FILE (tests/data/null_runs.csv is such a
file): agents that never learned, in 1 and in 6 pools of 40 digits, and agents after one epoch, in
one pool of 40 shapes. Without it, runs of the file are dealt to two points and to seeds at random,
so that no point is better than another, and the verdicts that come of it are counted.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.interleaved import verdict
from pg_platform.config.experiment import Experiment
from pg_platform.config.metrics import VAL_IMAGES, success
from pg_platform.data.images import open_images
from pg_platform.data.loaders import validation_batches
from pg_platform.methods import build
from pg_platform.report.chance import above_chance
from pg_platform.report.points import PointResult, contrasts
from pg_platform.report.statistics import ALPHA, Resolution, summarise
from pg_platform.sweep.schema import Metric
from pg_platform.training.history import Row
from pg_platform.training.loop import train
from pg_platform.training.validation import pool_accuracy
from pg_platform.training.worker import local_worker
from tests.small import SMALL, merged

POOL = 40
UNTRAINED, TRAINED = 200, 60
_MANY = 6
SMALL_RUN = {
    "epochs": 1,
    "data": {"kind": "shapes", "count": 240, "val_fraction": 0.3},
    "validation": {"pool_size": POOL},
    "speaker": {"rank": {"width": 16}},
    "listener": {"vision": {"width": 16}},
}
FILE = Path(__file__).parent.parent / "tests" / "data" / "null_runs.csv"
Runs = Mapping[tuple[int, int], Sequence[float]]
"""Shares of runs of so many epochs, measured on so many images."""


def main() -> None:
    """Print how often two points are told apart, and untrained agents from chance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, help="play the runs and write them to this file")
    file = parser.parse_args().train
    if file is not None:
        with file.open("w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["epochs", "seed", "share", "images"])
            writer.writerows(played())
    runs, seeds = read(file or FILE), (2, 3, 5)
    for (epochs, images), shares in runs.items():
        found = ", ".join(f"{told_apart(shares, images, n):.4f} at {n} seeds" for n in seeds)
        print(f"{len(shares)} runs of {epochs} epochs on {images} images, told apart: {found}")
    worst = max(told_apart(shares, at[1], n) for at, shares in runs.items() for n in seeds)
    print(verdict("verdicts where there is no effect", worst, "<= 0.05"))
    learned = max(above(runs[0, n * POOL], n * POOL, m) for n in (1, _MANY) for m in (1, *seeds))
    print(verdict("untrained agents told apart from chance", learned, "<= 0.05"))


def read(file: Path) -> Runs:
    """The runs of a file."""
    runs: dict[tuple[int, int], list[float]] = {}
    with file.open() as text:
        for row in csv.DictReader(text):
            at = int(row["epochs"]), int(row["images"])
            runs.setdefault(at, []).append(float(row["share"]))
    return runs


def told_apart(runs: Sequence[float], images: int, seeds: int, times: int = 4000) -> float:
    """The share of pairs of points, of runs drawn at random, that are called better or worse."""
    source, resolution = random.Random(seeds), Resolution(share=True, images=images)
    metric = Metric(name=f"val/top1_pool{POOL}", goal="maximize")
    words = []
    for _ in range(times):
        dealt = source.sample(runs, 2 * seeds)
        one, other = _point("one", dealt[:seeds]), _point("other", dealt[seeds:])
        words.append(contrasts([one, other], other, metric, resolution)["one"].verdict)
    return sum(word in ("better", "worse") for word in words) / times


def above(runs: Sequence[float], images: int, seeds: int, times: int = 4000) -> float:
    """How often so many agents that never learned are told apart from chance."""
    source, resolution = random.Random(seeds), Resolution(share=True, images=images)
    drawn = (source.sample(runs, seeds) for _ in range(times))
    p = [above_chance(shares, f"val/top1_pool{POOL}", resolution) for shares in drawn]
    return sum(each < ALPHA for each in p) / times


def _point(group: str, shares: Sequence[float]) -> PointResult:
    return PointResult(group, {}, (), dict(enumerate(shares)), summarise(shares), 0, 0, 0, 0, 0)


def played() -> Iterator[tuple[int, int, float, int]]:
    """(epochs, seed, share, images) of each run."""
    torch.set_num_threads(1)
    digits = {"kind": "digits", "image_size": 16, "val_fraction": 0.3}
    base = Experiment.model_validate({**SMALL, "data": digits, "validation": {"pool_size": POOL}})
    whole = validation_batches(open_images(base.data, "val"), base, torch.device("cpu"))
    batch = next(whole)
    for seed in range(UNTRAINED):
        torch.manual_seed(seed)
        method = build(base.model_copy(update={"seed": seed}))
        played = method.eval().play((batch.speaker, batch.listener))
        for images in (POOL, _MANY * POOL):
            found = pool_accuracy(played.text[:images], played.image[:images], POOL)
            yield 0, seed, found[success(base)], images
    for seed in range(TRAINED):
        last = _trained(Experiment.model_validate(merged(SMALL, {**SMALL_RUN, "seed": seed})))
        yield 1, seed, last[f"val/top1_pool{POOL}"], int(last[VAL_IMAGES])


def _trained(experiment: Experiment) -> Mapping[str, float]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = local_worker(experiment.resources)
        train(experiment, Path(folder), place=place, report=rows.extend, should_stop=lambda: False)
    return rows[-1].metrics


if __name__ == "__main__":
    main()
