"""The processes that decode: what they need before they start, how they are lost. No torch."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import signal
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

CHUNK = 16
"""A process decodes so many images at once; a batch is put together from such chunks."""

MOST_CHUNKS = 64
"""A batch has no more chunks than this: each holds a file descriptor until it is used."""

CHUNKS_AHEAD = 32
"""Other processes decode this far ahead, all together."""

PATIENCE_SECONDS = 600.0
"""How long a chunk is waited for before its process is taken for hung."""

LOOK_SECONDS = 2
"""How often it is looked whether the processes live while a chunk is waited for."""

SHARED_MEMORY = Path("/dev/shm")
"""Through which the processes of Linux hand over what they have decoded."""

_TIMED_OUT = "DataLoader timed out"
_LAST_BREATH_SECONDS = 1.0

_Part = TypeVar("_Part")


_KILLED = re.compile(
    r"DataLoader worker \(pid (?P<pid>\d+)\) is killed by signal: (?P<signal>.+?)\."
)


class LoaderLostError(RuntimeError):
    """A process that decodes died or hangs, which says nothing of the images: it may pass."""


class NoRoomError(LoaderLostError):
    """There was no room in shared memory, though there is when no other process takes it."""

    def __init__(self, told: str) -> None:
        super().__init__(told)


def chunk_size(images: int) -> int:
    """Images in a chunk of a batch of so many."""
    return max(CHUNK, ceil(images / MOST_CHUNKS))


def chunks_ahead(processes: int) -> int:
    """How many chunks each of the processes decodes ahead."""
    return max(2, ceil(CHUNKS_AHEAD / processes))


def shared_bytes(images: int, views: int, size: int, processes: int) -> int:
    """What batches of `images` take of shared memory at most: one, and what is decoded ahead.

    `views` of (3, size, size) bytes are cut from each image; 0 bytes without other processes.
    """
    if not processes:
        return 0
    chunk = chunk_size(images)
    chunks = ceil(images / chunk) + chunks_ahead(processes) * processes
    return chunks * chunk * views * 3 * size * size


def check_shared_memory(wanted: int) -> None:
    """Refuse what shared memory could not hold if it were empty; ValueError with remedies."""
    if not SHARED_MEMORY.is_dir():
        return
    there = shutil.disk_usage(SHARED_MEMORY).total
    if 0 < there < wanted:  # one without a limit has a size of 0
        raise ValueError(
            f"data.loader_processes: batches need {_told(wanted)} of shared memory and "
            f"{SHARED_MEMORY} has {_told(there)}; give a container more (docker run "
            "--shm-size=1g), or set data.loader_processes to 0"
        )


def no_room(wanted: int) -> NoRoomError:
    """What to raise where so many bytes found no place in shared memory."""
    left = shutil.disk_usage(SHARED_MEMORY).free
    return NoRoomError(
        f"shared memory is used up: {_told(wanted)} are wanted and {SHARED_MEMORY} has "
        f"{_told(left)} left; run fewer trials at a time (resources.max_concurrent), or with fewer "
        "data.loader_processes"
    )


def patiently(loader: Iterable[_Part], patience: float) -> Iterator[_Part]:
    """What a DataLoader of other processes gives, waited for with a limit.

    Its own `timeout` is to be LOOK_SECONDS: whether the processes live is looked at after that.
    Raises LoaderLostError where one has died, or has given nothing for `patience` seconds.
    """
    before = set(multiprocessing.active_children())
    parts = iter(loader)
    processes = [each for each in multiprocessing.active_children() if each not in before]
    try:
        while (part := _next(parts, processes, patience)) is not None:
            yield part
    finally:
        # not when the error is forgotten: the processes hold what they inherited, as locks
        del parts


def _next(
    parts: Iterator[_Part], processes: Sequence[BaseProcess], patience: float
) -> _Part | None:
    """The next part, None at the end; see `patiently`."""
    asked = time.monotonic()
    while True:
        try:
            return next(parts, None)
        except (EOFError, OSError, RuntimeError) as error:
            traceback.clear_frames(error.__traceback__)  # torch's refer to the error, and to parts
            if (why := _death(processes, error)) is not None:
                raise LoaderLostError(why) from error
            if not str(error).startswith(_TIMED_OUT):
                raise
            if time.monotonic() - asked >= patience:
                raise LoaderLostError(
                    f"a loader process has given nothing for {patience:g} s; does the storage of "
                    "the images answer?"
                ) from error


def _death(processes: Sequence[BaseProcess], error: Exception) -> str | None:
    """How one of the processes died, in words; None where they live.

    A process that is being killed closes its sockets a little before it is gone.
    """
    if isinstance(error, EOFError | OSError):
        wait([each.sentinel for each in processes], timeout=_LAST_BREATH_SECONDS)
    for each in processes:
        if each.exitcode:
            return f"loader process {each.pid} {_how(each.exitcode)}"
    return None


def death_told(error: str) -> str | None:
    """The words of `LoaderLostError` for what torch's signal handler says of a process that died.

    It raises in the main thread, wherever that is at the moment. None for any other text.
    """
    found = _KILLED.search(error)
    if found is None:
        return None
    named = {signal.strsignal(number): number for number in signal.Signals}
    number = named.get(found["signal"])
    how = f"was killed ({found['signal']})" if number is None else _how(-number)
    return f"loader process {found['pid']} {how}"


def _how(exitcode: int) -> str:
    if exitcode >= 0:
        return f"ended by itself with {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = {
        signal.SIGKILL: ", as the kernel does where memory runs out; fewer data.loader_processes, "
        "or fewer trials at a time, want less of it",
        signal.SIGBUS: f": {SHARED_MEMORY} is used up; give it more room, or lower "
        "data.loader_processes",
    }
    return f"was killed by {name}{hint.get(signal.Signals(-exitcode), '')}"


def _told(count: int) -> str:
    return f"{count / 2**20:.3g} MiB"
