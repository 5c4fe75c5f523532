"""Standard output and error that may go away: a command goes on without its screen."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

_GONE = (errno.EPIPE, errno.EIO)
"""The reader of a pipe has ended; the terminal has been closed."""


class _Screen(io.RawIOBase):
    """A file descriptor; once nobody reads it any more, what is written to it is lost."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, content: object) -> int:
        data = memoryview(content)  # type: ignore[arg-type]
        try:
            return os.write(self.descriptor, data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            _discard(self.descriptor)
            return data.nbytes


def outlive_readers() -> None:
    """Let nothing that is written to stdout or stderr end this process: `pg-sweep x | head -3`.

    Streams that a test has put in their place stay. One that was closed from the start is none.
    """
    if sys.stdout is sys.__stdout__:
        sys.stdout = _outliving(sys.__stdout__, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _outliving(sys.__stderr__, 2)


def _outliving(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        _discard(descriptor)
        return open(os.devnull, "w", encoding="utf-8")
    buffered = io.BufferedWriter(_Screen(descriptor))
    line_by_line = descriptor == 2 or os.isatty(descriptor)
    return io.TextIOWrapper(
        buffered, stream.encoding, stream.errors, line_buffering=line_by_line, write_through=False
    )


def _discard(descriptor: int) -> None:
    """What is written there goes nowhere, also from libraries that write below Python."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
