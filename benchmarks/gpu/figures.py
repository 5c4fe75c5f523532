"""What a part of the kit gives: figures with their spread and checks with their verdict."""

from __future__ import annotations

import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

LEAST_REPEATS = 5
MOST_REPEATS = 50


@dataclass
class Sheet:
    """The records of one part, each written to `file` at once, so that a cut-off loses none."""

    file: Path
    device: torch.device
    ends_at: float
    """Until when the part may take up something new, by time.monotonic()."""
    seconds: float
    """How long the whole part may take."""
    scratch: Path
    """A folder of this part for what it makes and does not keep."""
    kept: Path
    """A folder for what stays beside the tables."""
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def small(self) -> bool:
        """Whether sizes are those that a CPU can take in seconds."""
        return self.device.type == "cpu"

    def wants(self, seconds: float) -> float:
        """How much time an item needs that takes so long on a card; little with small sizes."""
        return 0.5 if self.small else seconds

    def figure(self, name: str, value: float, unit: str, **more: Any) -> None:
        """A measured number; `more` is what stands beside it, such as low, high and n."""
        self._write({"kind": "figure", "name": name, "value": value, "unit": unit, **more})

    def check(self, name: str, *, passed: bool, found: str) -> None:
        """Something that must hold, and what was found."""
        self._write({"kind": "check", "name": name, "passed": passed, "found": found})

    def note(self, name: str, text: str) -> None:
        """Something a reader must know that is no number."""
        self._write({"kind": "note", "name": name, "text": text})

    @contextmanager
    def item(self, name: str, *, wants: float = 0.0) -> Iterator[None]:
        """One thing to measure: a failure is written down and the next is taken up.

        It is left out, and that is written down too, where less than `wants` seconds are left.
        """
        left = self.ends_at - time.monotonic()
        if left <= wants:
            self.note(name, f"not measured: {max(left, 0):.0f} s were left of the time box")
            raise Skipped
        try:
            yield
        except Exception as error:
            self._write(
                {
                    "kind": "failure",
                    "name": name,
                    "error": f"{type(error).__name__}: {error}".splitlines()[0],
                    "traceback": traceback.format_exc(),
                }
            )
            raise Skipped from error

    def _write(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        with self.file.open("a") as stream:
            stream.write(json.dumps(record) + "\n")


class Skipped(Exception):  # noqa: N818 - no error: the next item is taken up
    """An item that could not be measured; the sheet says why."""


def each(sheet: Sheet, items: Mapping[str, Callable[[], None]], wants: float = 0.0) -> None:
    """Take up the items in order, whatever becomes of those before."""
    for name, measure in items.items():
        try:
            with sheet.item(name, wants=wants):
                measure()
        except Skipped:
            release(sheet.device)


def timed(sheet: Sheet, call: Callable[[], object], seconds: float) -> dict[str, float]:
    """Seconds of a call, waiting for the device: median, fastest, slowest and how often.

    It is called for about `seconds`, at least LEAST_REPEATS times after two that do not count: at
    the second one a step is recorded.
    """
    taken: list[float] = []
    call()
    call()
    wait(sheet.device)
    until = time.perf_counter() + seconds
    while len(taken) < LEAST_REPEATS or (len(taken) < MOST_REPEATS and time.perf_counter() < until):
        started = time.perf_counter()
        call()
        wait(sheet.device)
        taken.append(time.perf_counter() - started)
    return {
        "median": statistics.median(taken),
        "low": min(taken),
        "high": max(taken),
        "n": len(taken),
    }


def rate(work: float, seconds: dict[str, float]) -> dict[str, float]:
    """Work a second, as `figure` takes it: the fastest call is the highest rate."""
    return {
        "value": work / seconds["median"],
        "low": work / seconds["high"],
        "high": work / seconds["low"],
        "n": seconds["n"],
    }


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Give unused memory of the device back, so that the next item has it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_gib(device: torch.device) -> float:
    """The most that was allocated on the device since `forget_peak`, in GiB; nan on a CPU."""
    return (
        torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")
    )


def forget_peak(device: torch.device) -> None:
    """Let `peak_gib` count from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
