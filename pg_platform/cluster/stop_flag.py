"""How a driver asks running trials to checkpoint, and to return."""

from __future__ import annotations

import time
from collections import Counter
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
        self.saves: Counter[str] = Counter()

    def set(self, trial_ids: Sequence[str], *, raised: bool) -> None:
        if raised:
            self.raised |= set(trial_ids)
        else:
            self.raised -= set(trial_ids)

    def save(self, trial_ids: Sequence[str]) -> None:
        self.saves.update(trial_ids)

    def asked(self, trial_id: str) -> tuple[bool, int]:
        return trial_id in self.raised, self.saves[trial_id]


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

    def save(self, trial_ids: Sequence[str]) -> None:
        """Ask trials to leave a checkpoint and go on; returns at once."""
        self.actor.save.remote(list(trial_ids))


class StopPoll:
    """A trial's end: asks in the background, so that a training step never waits for it."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.actor = ray.get_actor(_NAME, namespace=NAMESPACE)
        self.answer: Any = None
        self.asked = 0.0
        self.stop = False
        self.saves: int | None = None
        """Checkpoints that were asked for before, since the first answer."""
        self.to_save = False

    def __call__(self) -> bool:
        """Whether to stop, by the newest answer that has arrived."""
        self._listen()
        return self.stop

    def should_save(self) -> bool:
        """Whether a checkpoint is wanted; True once for each time that it is."""
        wanted, self.to_save = self.to_save, False
        return wanted

    def _listen(self) -> None:
        if self.answer is None:
            if time.monotonic() - self.asked >= _POLL_SECONDS:
                self.answer = self.actor.asked.remote(self.trial_id)
                self.asked = time.monotonic()
        elif ray.wait([self.answer], timeout=0)[0]:
            self.stop, saves = ray.get(self.answer)
            self.to_save = self.to_save or (self.saves is not None and saves > self.saves)
            self.saves, self.answer = saves, None
