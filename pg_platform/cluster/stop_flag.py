"""How a driver asks running trials to checkpoint and return."""

from __future__ import annotations

import time
from typing import Any

import ray

from pg_platform.cluster.ray_cluster import NAMESPACE

_NAME = "pg-stop"
_POLL_SECONDS = 0.5


class _Flag:
    def __init__(self) -> None:
        self.raised = False

    def raise_it(self) -> None:
        self.raised = True

    def is_raised(self) -> bool:
        return self.raised


class StopFlag:
    """The driver's end: one flag for a sweep, lowered at first."""

    def __init__(self) -> None:
        self.actor = ray.remote(_Flag).options(name=_NAME, num_cpus=0, get_if_exists=True).remote()

    def raise_it(self) -> None:
        """Ask every running trial to stop; returns at once."""
        self.actor.raise_it.remote()


class StopPoll:
    """A trial's end: asks in the background, so that a training step never waits for it."""

    def __init__(self) -> None:
        self.actor = ray.get_actor(_NAME, namespace=NAMESPACE)
        self.answer: Any = None
        self.asked = 0.0

    def __call__(self) -> bool:
        if self.answer is None:
            if time.monotonic() - self.asked < _POLL_SECONDS:
                return False
            self.answer, self.asked = self.actor.is_raised.remote(), time.monotonic()
            return False
        if not ray.wait([self.answer], timeout=0)[0]:
            return False
        raised = bool(ray.get(self.answer))
        self.answer = None if not raised else self.answer
        return raised
