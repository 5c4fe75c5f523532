"""The names of what training reports, and what is known of each, in one place."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pg_platform.config.errors import meant, one_of
from pg_platform.config.experiment import Experiment

Goal = Literal["maximize", "minimize"]


AREA, EPOCHS_TO = "area", "epochs_to"
"""What can be derived from a metric's history, behind a colon."""


TRAIN_IMAGES, VAL_IMAGES = "data/train_images", "data/val_images"


_POOL = "_pool{pool}"


@dataclass(frozen=True)
class Reported:
    """A metric of training, by its name.

    `goal` is which end of it is good, None where neither is by itself. The values of a `share` lie
    in [0, 1]; `images` is the metric that counts the images of which it is a share. Values that
    are counted come in steps of `step`.
    """

    goal: Goal | None
    share: bool = False
    images: str | None = None
    step: float = 0.0


_SUCCESS = Reported("maximize", share=True, images=VAL_IMAGES)


_REPORTED = {
    f"val/top1{_POOL}": _SUCCESS,
    f"val/top5{_POOL}": _SUCCESS,
    f"val/reverse_top1{_POOL}": _SUCCESS,
    f"val/reverse_top5{_POOL}": _SUCCESS,
    "train/loss": Reported("minimize"),
    "train/top1_batch": Reported("maximize", share=True, images=TRAIN_IMAGES),
    "train/message_length": Reported(None),
    "msg/length": Reported(None),
    "msg/active_symbols": Reported(None, step=1.0),
    "msg/symbol_entropy_bits": Reported(None),
    "optim/lr": Reported(None),
    "optim/symbol_temperature": Reported(None),
    "optim/grad_norm": Reported(None),
    "optim/skipped_steps": Reported("minimize", share=True),
    "perf/images_per_s": Reported("maximize"),
    "perf/data_wait_share": Reported("minimize", share=True),
    "perf/peak_memory_gib": Reported("minimize"),
    "data/broken_images": Reported("minimize", step=1.0),
    TRAIN_IMAGES: Reported(None),
    VAL_IMAGES: Reported(None),
}


def success(experiment: Experiment) -> str:
    """Share of messages that find their image in a pool of `validation.pool_size` (Fig. 6)."""
    return f"val/top1_pool{experiment.validation.pool_size}"


def metric_names(experiment: Experiment) -> tuple[str, ...]:
    """All metrics of a run. Accuracies are shares, chance is 1 over the pool or the batch."""
    left_out = () if experiment.precision == "fp16" else ("optim/skipped_steps",)
    pool = experiment.validation.pool_size
    return tuple(name.format(pool=pool) for name in _REPORTED if name not in left_out)


def reported(name: str) -> Reported | None:
    """What is known of a metric, or of that from which it is derived; None for any other name."""
    base = name.partition(":")[0]
    return _REPORTED.get(re.sub(r"_pool\d+$", _POOL, base))


def direction(name: str) -> Goal | None:
    """Which end of a metric is good: its own, its area's, and the fewest epochs to a level.

    None where neither end is good by itself, and for names that training does not report.
    """
    known = reported(name)
    if known is None:
        return None
    return "minimize" if name.partition(":")[2].startswith(EPOCHS_TO) else known.goal


def opposite(goal: Goal) -> Goal:
    """The other end."""
    return "minimize" if goal == "maximize" else "maximize"


DERIVED = (AREA, EPOCHS_TO)


def wrong_metric(name: str, known: Sequence[str]) -> str | None:
    """What a name wants to be a metric or derived from one, None where it is."""
    measured, colon, derived = name.partition(":")
    if measured not in known:
        return one_of(measured, known)
    kind, _, level = derived.partition(":")
    if not colon or derived == AREA:
        return None
    if kind != EPOCHS_TO:
        near = meant(kind, DERIVED)
        return f"wants {measured}, {measured}:epochs_to:X or {measured}:area{near}"
    if not re.fullmatch(r"-?[0-9]*\.?[0-9]+(e-?[0-9]+)?", level) or not math.isfinite(float(level)):
        return f"wants a number behind epochs_to, such as {measured}:epochs_to:0.5"
    return None


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
