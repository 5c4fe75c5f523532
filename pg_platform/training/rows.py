"""What a run reports: rows of metrics, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

TRIAL_ERRORS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What training raises where the same numbers would fail again: the trial failed, and is not tried
again. Other errors, such as a full disk, may pass."""


@dataclass(frozen=True)
class Row:
    """Metrics at the end of an epoch, placed on three axes.

    `epoch` counts from 1, `step` is the number of optimiser steps taken, `images` the number of
    images seen by all workers together.
    """

    epoch: int
    step: int
    images: int
    metrics: dict[str, float]


class Outcome(Enum):
    """How training ended: at its last epoch, or at a checkpoint because it was asked to stop."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
