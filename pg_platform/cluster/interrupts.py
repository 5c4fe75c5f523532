"""The first Ctrl-C asks for a stop; the second interrupts at once, as ever."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed since the block was entered."""
    pressed: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    with ExitStack() as at_exit:
        at_exit.callback(signal.signal, signal.SIGINT, before)
        yield lambda: bool(pressed)
