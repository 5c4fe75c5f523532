"""Medians of interleaved repeats, so that a loaded machine slows every contender alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def medians(contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, all of them taken in turn; one round before is not counted."""
    assert repeats >= 5, "a median of fewer repeats says little"
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(repeats + 1):
        for name, call in contenders.items():
            started = time.perf_counter()
            call()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def verdict(name: str, ratio: float, goal: str) -> str:
    """The last line of a benchmark: `heads: ratio 12.3, goal >= 10`."""
    return f"{name}: ratio {ratio:.2f}, goal {goal}"
