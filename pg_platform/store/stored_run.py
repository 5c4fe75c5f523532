"""A run as the store holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class StoredRun:
    """What one look at the store tells of a run.

    `run_id` is the store's own name of it; `key` is the platform's, None for a run that something
    else made. `metrics` are the values at the highest step of each metric.
    """

    run_id: str
    experiment_id: str
    key: str | None
    name: str
    status: Ending | Literal["RUNNING", "SCHEDULED"]
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
