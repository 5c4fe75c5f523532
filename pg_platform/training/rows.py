"""A row of metrics: what a run reports."""

from __future__ import annotations

from dataclasses import dataclass


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
