"""Metrics on their way to a store: queued, sent in batches by one thread, tried again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pg_platform.store.client import Patience, StoreError, StoreUnavailableError
from pg_platform.sweep.load import Metric
from pg_platform.training.history import Row

BATCH = 1000  # metrics; more in one call is refused by MLflow


@dataclass(frozen=True)
class Measurement:
    """One value of one metric; `time` in milliseconds since 1970."""

    metric: str
    value: float
    step: int
    time: int


Send = Callable[[str, Sequence[Measurement]], None]


def measurements(row: Row) -> list[Measurement]:
    """The row's metrics by epoch, and those of the game (train/, val/) by images seen as well."""
    now = milliseconds()
    by_epoch = [Measurement(name, value, row.epoch, now) for name, value in row.metrics.items()]
    by_images = [
        Measurement(f"by_images/{name}", value, row.images, now)
        for name, value in row.metrics.items()
        if name.startswith(("train/", "val/"))
    ]
    return by_epoch + by_images


def ends(history: Sequence[tuple[int, float]], metric: Metric) -> list[Measurement]:
    """The last and the best value of a run's `metric`, at step 0: MLflow draws those as bars."""
    finite = [value for _, value in history if math.isfinite(value)]
    if not finite:
        return []
    now, best = milliseconds(), max if metric.goal == "maximize" else min
    return [
        Measurement(f"final/{metric.name}", history[-1][1], 0, now),
        Measurement(f"best/{metric.name}", best(finite), 0, now),
    ]


def beyond(
    values: Iterable[Measurement], marks: Mapping[str, int]
) -> tuple[list[Measurement], dict[str, int]]:
    """The values at steps above the marks of their metrics, and where the marks then are."""
    new, moved = [], dict(marks)
    for value in values:
        if value.metric not in moved or value.step > moved[value.metric]:
            moved[value.metric] = value.step
            new.append(value)
    return new, moved


def milliseconds() -> int:
    """The time now, as a store wants it."""
    return time.time_ns() // 1_000_000


class Writer:
    """Calls `send(run_id, measurements)` from one thread, never from the caller's.

    A `StoreUnavailableError` is tried again for as long as the patience lasts; what is still unsent
    then stays queued for the next `put` or `flush`. Any other `StoreError` drops the batch.
    `put` never raises for the store's sake; `flush` tells of both.
    """

    def __init__(self, send: Send, patience: Patience) -> None:
        self._send = send
        self.patience = patience
        self._lock = threading.Lock()
        self._queue: dict[str, list[Measurement]] = {}
        self._refused: list[str] = []
        self._busy = False
        self._job: Future[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    def put(self, run_id: str, values: Iterable[Measurement]) -> None:
        """Queues values of a run and returns at once."""
        with self._lock:
            self._queue.setdefault(run_id, []).extend(values)
            self._wake()

    def flush(self) -> None:
        """Waits until all is sent; StoreError with the number of values that are not."""
        with self._lock:
            self._wake()
            job = self._job
        if job is not None:
            job.result()
        if self._refused:
            refused, self._refused = self._refused, []
            raise StoreError("metrics were refused by the store: " + "; ".join(refused))

    def close(self) -> None:
        """Flushes and ends the thread."""
        self.flush()
        self._thread.shutdown()

    def _wake(self) -> None:
        if self._queue and not self._busy:
            self._busy = True
            self._job = self._thread.submit(self._drain)

    def _drain(self) -> None:
        pause, deadline = self.patience.first, time.monotonic() + self.patience.total
        while (batch := self._head()) is not None:
            run_id, values = batch
            try:
                self._send(run_id, values)
            except StoreUnavailableError as error:
                if time.monotonic() >= deadline:
                    raise self._gave_up(error) from error
                time.sleep(pause)
                pause = min(2 * pause, self.patience.longest)
                continue
            except StoreError as error:
                self._refused.append(f"run {run_id}, {len(values)} values: {error}")
            self._drop(run_id, len(values))
            pause, deadline = self.patience.first, time.monotonic() + self.patience.total

    def _head(self) -> tuple[str, list[Measurement]] | None:
        with self._lock:
            for run_id, values in self._queue.items():
                return run_id, values[:BATCH]
            self._busy = False
            return None

    def _drop(self, run_id: str, count: int) -> None:
        with self._lock:
            del self._queue[run_id][:count]
            if not self._queue[run_id]:
                del self._queue[run_id]

    def _gave_up(self, error: StoreUnavailableError) -> StoreUnavailableError:
        with self._lock:
            self._busy = False
            unsent = sum(map(len, self._queue.values()))
            return StoreUnavailableError(
                f"{unsent} metric values of {len(self._queue)} runs could not be written in "
                f"{self.patience.total:g} s ({error}); they stand in metrics.jsonl of their "
                "trials, and the same command writes them once the store answers"
            )
