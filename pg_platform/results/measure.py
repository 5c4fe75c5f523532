"""One number of a run's history: its last value, or a measure derived from all its epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pg_platform.config.metrics import EPOCHS_TO, direction

_LEVEL = f":{EPOCHS_TO}:"


def base(name: str) -> str:
    """The metric of training that `name` is measured from: all before the first colon."""
    return name.partition(":")[0]


def is_derived(name: str) -> bool:
    """Whether `name` needs the history of a metric, not only its last value."""
    return base(name) != name


def threshold(name: str) -> float | None:
    """X of `NAME:epochs_to:X`; None for any other name. ValueError where X is no finite number."""
    if _LEVEL not in name:
        return None
    text = name.partition(_LEVEL)[2]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"metric {name!r}: {text!r} is no number; write NAME:epochs_to:0.5")
    return value


def measure(history: Sequence[tuple[int, float]], name: str) -> float:
    """The measure `name` of (epoch, value) pairs of its base metric, by epoch.

    `NAME` is the last value, `NAME:epochs_to:X` the first epoch with a value as good as X (of at
    least X; of at most X where less of NAME is better), and `NAME:area` the mean of all values,
    NaN where one is. NaN where X was never reached and where the history is empty. ValueError for
    any other measure.
    """
    if (wanted := threshold(name)) is not None:
        sign = -1 if direction(base(name)) == "minimize" else 1
        reached = (float(at) for at, value in history if sign * value >= sign * wanted)
        return next(reached, math.nan)
    if name not in (base(name), f"{base(name)}:area"):
        raise ValueError(
            f"metric {name!r}: no such measure; write NAME, NAME:epochs_to:X or NAME:area"
        )
    if not history:
        return math.nan
    if not is_derived(name):
        return history[-1][1]
    return math.fsum(value for _, value in history) / len(history)
