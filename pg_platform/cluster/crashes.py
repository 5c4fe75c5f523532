"""What a process of Ray leaves behind that dies of a signal such as SIGSEGV.

Ray itself tells of such a death as of any other: "connection error, end of file".
"""

from __future__ import annotations

import faulthandler
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating-point exception": "SIGFPE",
}
"""The names of signals, by what Python's fault handler writes of them."""


@contextmanager
def crashes_kept(folder: Path, rank: int) -> Iterator[None]:
    """While it lasts, a fault that ends this process is written to a file, with all stacks."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"crash-{rank}.txt"
    with path.open("w") as file:
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.enable()  # on stderr, as Ray has it
    path.unlink(missing_ok=True)


def crash_of(folder: Path) -> str | None:
    """Which signal ended a process of the trial in `folder` last, then its stacks; None: none.

    SIGKILL leaves nothing.
    """
    for path in sorted(folder.glob("crash-*.txt")):
        text = path.read_text(errors="replace")
        if (found := re.match(r"Fatal Python error: (.+)", text)) is not None:
            return f"its process was killed by {_SIGNALS.get(found[1], found[1])}\n{text}"
    return None
