"""A thread that ends this process where its main thread does not, or what it stands on is gone.

Ray's calls may wait for ever once its processes are dead or stopped, and then run no signal
handler. Python's wakeup descriptor tells this thread of signals all the same.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from pg_platform.config.errors import InfrastructureError

_TICK_SECONDS = 0.5
_STUCK_SECONDS = 12.0
"""A main thread that does not come round for so long after a stop was asked for is stuck."""
_LAST_WORDS_SECONDS = 8.0
_LOOKS = 6
GOES_ON = "nothing that was checkpointed is lost, the same command goes on"
INFRASTRUCTURE = 4
"""What the shell is told where Ray is gone, see cli.Exit."""


def exit_code(number: int) -> int:
    """What the shell is told after a signal: 143 after SIGTERM, 129 after SIGHUP, else 130."""
    return 128 + (number if number in (signal.SIGTERM, signal.SIGHUP) else signal.SIGINT)


@dataclass
class DriverGuard:
    """What there is to look after while trials run."""

    grace: Callable[[], float]
    """Seconds in which trials have to return once they were asked to."""
    running: Callable[[], bool]
    """Whether trials have still to return."""
    died: Callable[[], str | None] = lambda: None
    """What is gone, as a sentence; None while all is there."""
    unread: Callable[[float], bool] = lambda _: False
    """Whether a request to stop has lain unread for so many seconds."""
    code: int = 128 + signal.SIGINT
    """What the shell is told where trials were asked to return."""
    asked_at: float | None = None
    beat: float = math.inf
    """When the main loop came round last; for ever where it is not expected to."""

    @property
    def asked(self) -> bool:
        """Whether trials were asked to return."""
        return self.asked_at is not None

    def ask(self, number: int = signal.SIGINT) -> None:
        """Trials are to return; their grace time begins."""
        if self.asked_at is None:
            self.asked_at, self.code = time.monotonic(), exit_code(number)

    def turn(self) -> None:
        """The main loop came round."""
        self.beat = time.monotonic()


@dataclass
class _Limit:
    at: float = math.inf
    code: int = 0
    why: str = ""


class Watchdog:
    """`guard` is what runs now; `limit` and `within` are for other waits.

    `last_words` leave store and status as they are to be found, where the process is ended here.
    """

    def __init__(self, heard: Callable[[int], None]) -> None:
        """`heard` is called in the thread with the number of each signal."""
        self.guard: DriverGuard | None = None
        self.last_words: Callable[[], None] | None = None
        self._heard = heard
        self._limit = _Limit()
        self._interrupted = self._awake = False
        self._ending = threading.Lock()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Watch; on to the very end of the process where a limit has been set."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        ended = threading.Event()
        self._limit, self._interrupted = _Limit(), False
        with ExitStack() as at_exit:
            at_exit.callback(self._rest, ended)
            before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            at_exit.callback(signal.set_wakeup_fd, before)
            threading.Thread(
                target=self._watch, args=(reading, ended), name="watchdog", daemon=True
            ).start()
            self._awake = True
            yield

    @contextmanager
    def leaving(self, last_words: Callable[[], None]) -> Iterator[None]:
        """Whoever ends the process from here lets `last_words` run first, for some seconds."""
        with ExitStack() as at_exit:
            at_exit.callback(setattr, self, "last_words", self.last_words)
            self.last_words = last_words
            yield

    def limit(self, seconds: float, code: int, why: str) -> None:
        """The process ends in so many seconds, unless it has by then; the soonest end counts."""
        at = time.monotonic() + seconds
        if at < self._limit.at:
            self._limit = _Limit(at, code, why)

    @contextmanager
    def within(self, seconds: float, why: str, code: int = INFRASTRUCTURE) -> Iterator[None]:
        """The block ends in so many seconds, or the process does."""
        before = self._limit
        self.limit(seconds, code, why)
        mine = self._limit

        def lift() -> None:
            if self._limit is mine:
                self._limit = before

        with ExitStack() as at_exit:
            at_exit.callback(lift)
            yield

    def settle(self) -> None:
        """Something failed: returns where all is there, and never where the process has to end."""
        for _ in range(_LOOKS):
            self.look()
            time.sleep(_TICK_SECONDS)

    def look(self) -> None:
        """Return where all is there; else the process ends.

        InfrastructureError instead where no command listens: a caller from Python goes on.
        """
        if self.guard is not None and (why := self.guard.died()) is not None:
            if not self._awake:
                raise InfrastructureError(why)
            self.end(INFRASTRUCTURE, why)

    def end(self, code: int, why: str) -> None:
        """Say why, leave things in order as far as that is possible, and end the process now."""
        self._ending.acquire()  # for good: who comes second waits for the end
        if self.last_words is not None:
            speaker = threading.Thread(target=self.last_words, daemon=True)
            speaker.start()
            speaker.join(_LAST_WORDS_SECONDS)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        with suppress(OSError):
            os.write(2, f"error: {why}\n".encode())
        os._exit(code)

    def _rest(self, ended: threading.Event) -> None:
        self._awake = False
        if self._limit.at == math.inf:
            ended.set()

    def _watch(self, reading: int, ended: threading.Event) -> None:
        while not ended.is_set():
            if select.select([reading], [], [], _TICK_SECONDS)[0]:
                for number in os.read(reading, 64):
                    self._heard(number)
            if (guard := self.guard) is not None:
                self._look(guard)
            if time.monotonic() > self._limit.at:
                self.end(self._limit.code, self._limit.why)

    def _look(self, guard: DriverGuard) -> None:
        if (why := guard.died()) is not None:
            self.end(INFRASTRUCTURE, why)
        now = time.monotonic()
        stuck = now - guard.beat > _STUCK_SECONDS
        if stuck and (guard.asked or guard.unread(_STUCK_SECONDS)):
            self.end(guard.code, f"Ray does not answer; {GOES_ON}")
        if guard.asked_at is None or now - guard.asked_at < guard.grace() or self._interrupted:
            return
        if guard.running():
            self._interrupted = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
