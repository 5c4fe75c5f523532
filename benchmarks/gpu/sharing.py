"""Several small trials that share one device as processes: what each more of them brings."""

from __future__ import annotations

import multiprocessing
import time
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import torch

from benchmarks.gpu.figures import Sheet, each
from benchmarks.gpu.settings import small
from pg_platform.training.checkpoint import Progress
from pg_platform.training.learner import Learner
from pg_platform.training.worker import Worker

START_SECONDS = 120.0
"""The longest that processes may take to come up together, and to answer after their time."""


def sharing(sheet: Sheet) -> None:
    """Images a second of all trials together, for 1, 2, 4 and 8 of them."""
    seconds = 0.5 if sheet.small else 5.0
    alone: list[float] = []
    for trials in (1, 2) if sheet.small else (1, 2, 4, 8):
        name = f"{trials} small trials on one device"
        each(
            sheet,
            {name: partial(_share, sheet, name, trials, seconds, alone)},
            wants=sheet.wants(10.0),
        )


def _share(sheet: Sheet, name: str, trials: int, seconds: float, alone: list[float]) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(trials), context.Queue()
    processes = [
        context.Process(
            target=_trial, args=(str(sheet.device), seconds, barrier, rates), daemon=True
        )
        for _ in range(trials)
    ]
    for process in processes:
        process.start()
    try:
        found = [rates.get(timeout=START_SECONDS + seconds) for _ in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    alone.append(sum(found))
    sheet.figure(name, sum(found), "images/s", low=min(found), high=max(found), n=trials)
    sheet.figure(f"{name}: against one", sum(found) / alone[0], "times")


def _trial(device: str, seconds: float, barrier: Barrier, rates: Queue[float]) -> None:
    """One trial: warmed up, then timed from the moment at which all are."""
    torch.set_num_threads(1)
    few = ("data.count=96", "batch_size=16", "validation.pool_size=8") if device == "cpu" else ()
    asked = small("precision=auto", *few)
    learner, progress = Learner(asked, Worker(torch.device(device))), Progress()
    steps = 0
    _epoch(learner, progress)
    barrier.wait(START_SECONDS)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        steps += _epoch(learner, progress)
    rates.put(steps * learner.experiment.batch_size / (time.perf_counter() - started))


def _epoch(learner: Learner, progress: Progress) -> int:
    """The steps of one epoch, until the device has done them."""
    steps = 0
    for batch in learner.batches(progress):
        learner.step(batch, progress)
        steps += 1
    learner.sums["loss"].item()
    progress.step = 0
    return steps
