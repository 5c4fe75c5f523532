"""The names of what training reports, and what is known of each, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

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
