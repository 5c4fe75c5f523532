"""One process at a time writes to a trial's folder, whoever started it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from pathlib import Path
from typing import IO

import torch
import torch.distributed as dist

from pg_platform.training.worker import Worker

_PAUSE_SECONDS = 0.5


class _State(IntEnum):
    WAITING = 0
    HELD = 1
    STOPPED = 2


@contextmanager
def sole_writer(
    folder: Path, place: Worker, *, waiting: Callable[[], object], should_stop: Callable[[], bool]
) -> Iterator[bool]:
    """Wait until no other process trains in `folder`, and keep others out; every worker enters.

    Two sweeps that share a trial, or a new driver beside the workers of a killed one, take turns:
    the second goes on from where the first came to. The system drops the lock with its process.
    `waiting` is called now and then meanwhile. Gives False where a stop was asked for first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        file = held.enter_context((folder / ".lock").open("w"))
        while (state := _agreed(place, _state(place, file, should_stop))) == _State.WAITING:
            waiting()
            time.sleep(_PAUSE_SECONDS)
        yield state == _State.HELD


def _state(place: Worker, file: IO[str], should_stop: Callable[[], bool]) -> _State:
    """What rank 0 finds; the others are told."""
    if place.rank > 0:
        return _State.WAITING
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _State.STOPPED if should_stop() else _State.WAITING
    return _State.HELD


def _agreed(place: Worker, mine: _State) -> _State:
    if place.world == 1:
        return mine
    told = torch.tensor([int(mine)], device=place.device)
    dist.broadcast(told, src=0)
    return _State(int(told))
