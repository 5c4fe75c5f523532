"""Which errors of a trial may pass when it is run again, and how an error is told in one line."""

from __future__ import annotations

import errno
import re
import traceback

from torch import distributed

from pg_platform.data.loader_processes import LoaderLostError, death_told
from pg_platform.training.history import DISK_FULL, shortage

_OF_THE_MOMENT = (
    ConnectionError,
    TimeoutError,
    LoaderLostError,
    distributed.DistError,
)
_NUMBERS = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EIO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EREMOTEIO,
    errno.ESTALE,
}
"""Of a disk or a network that is away."""

_MODULE = re.compile(r"^[\w.]+\.(?=\w+(:|$))")

_OTHER_PROCESSES = (
    "DataLoader worker (pid",  # raised by a signal's handler, wherever the main thread is
    "gloo/transport/",  # the place in gloo's source: another worker is gone
)


def passes(error: BaseException) -> bool:
    """Whether another try may go well: a process is lost, or a network or a disk is away.

    All else, as a user's mistake, would fail in the same way. What Ray itself raises is about its
    processes.
    """
    if isinstance(error, _OF_THE_MOMENT) or type(error).__module__.partition(".")[0] == "ray":
        return True
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OTHER_PROCESSES)


def headline(error: BaseException) -> str:
    """The error in one line."""
    if (death := death_told(str(error))) is not None:
        return f"LoaderLostError: {death}"
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    if any(line.startswith("Original Traceback") for line in lines):  # of another process
        return _MODULE.sub("", lines[-1])
    return f"{type(error).__name__}: {lines[0]}"


def told(error: BaseException, folder: str) -> str:
    """The error in one line, then its traceback, of a trial that writes to `folder`.

    Where memory or disk have run out it begins with that, see `shortage`.
    """
    trace = "".join(traceback.format_exception(error))
    if (lacks := shortage(trace)) is None:
        return f"{headline(error)}\n{trace}"
    place = f" {folder}:" if lacks == DISK_FULL else ""
    return f"{lacks}:{place} {str(error).strip().partition(chr(10))[0]}\n{trace}"


def lasting(error: BaseException) -> bool:
    """Whether a trial that `error` ended is not to be tried again.

    One that ran out of memory or disk is told of at once: the sweep knows what to do about it.
    """
    return shortage("".join(traceback.format_exception(error))) is not None or not passes(error)
