"""How a driver asks running trials to checkpoint and return."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pg_platform.cluster.ray_cluster import NAMESPACE

_NAME = "pg-stop"
_POLL_SECONDS = 0.5


class _Flags:
    def __init__(self) -> None:
        self.raised: set[str] = set()

    def set(self, trial_ids: Sequence[str], *, raised: bool) -> None:
        if raised:
            self.raised |= set(trial_ids)
        else:
            self.raised -= set(trial_ids)

    def is_raised(self, trial_id: str) -> bool:
        return trial_id in self.raised


class StopFlags:
    """The driver's end: a flag for each trial, lowered at first."""

    def __init__(self) -> None:
        # on the driver's node: wherever Ray put it, a node that dies would take it from all trials
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.actor = (
            ray.remote(_Flags)
            .options(name=_NAME, num_cpus=0, get_if_exists=True, scheduling_strategy=here)
            .remote()
        )

    def set(self, trial_ids: Sequence[str], *, raised: bool) -> None:
        """Ask trials to stop, or take that back; returns at once."""
        self.actor.set.remote(list(trial_ids), raised=raised)


class StopPoll:
    """A trial's end: asks in the background, so that a training step never waits for it."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.actor = ray.get_actor(_NAME, namespace=NAMESPACE)
        self.answer: Any = None
        self.asked = 0.0

    def __call__(self) -> bool:
        """The newest answer that has arrived."""
        if self.answer is None:
            if time.monotonic() - self.asked < _POLL_SECONDS:
                return False
            self.answer = self.actor.is_raised.remote(self.trial_id)
            self.asked = time.monotonic()
            return False
        if not ray.wait([self.answer], timeout=0)[0]:
            return False
        raised = bool(ray.get(self.answer))
        self.answer = None if not raised else self.answer
        return raised
