"""Signals that ask this process to end: the first can be waited for, a second ends it at once.

SIGTERM (SLURM, Kubernetes, spot machines), SIGHUP (a closed session) and SIGUSR1 ask as Ctrl-C
does.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Self

from pg_platform.cluster.watchdog import GOES_ON, Guard, Watchdog, exit_code

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

_CLOSING_SECONDS = 45.0
"""What a command has for its report and its store once its trials have returned."""
_AT_ONCE_SECONDS = 10.0
_ECHO_SECONDS = 1.0
"""A closed session sends SIGHUP from the kernel and from the shell, SLURM from two daemons: what
follows so closely is no second signal. A key that is pressed twice is."""


class Interrupted(KeyboardInterrupt):
    """A signal ends the command now."""


class Interrupts:
    """What asks this process to end, in the order in which it came."""

    def __init__(self) -> None:
        self.watchdog = Watchdog(self._heard)
        self._numbers: tuple[signal.Signals, ...] = ()
        self._main, self._thread = _Count(), _Count()
        self._patient = self._stopped = False

    @property
    def code(self) -> int:
        """What the shell is told: 143 after SIGTERM, 129 after SIGHUP, else 130."""
        return exit_code(self._thread.first or self._main.first or signal.SIGINT)

    @property
    def asked(self) -> bool:
        """Whether a signal has come, or a request to stop."""
        return self._stopped or self._main.first is not None or self._thread.first is not None

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """While a command runs. A signal that is ignored from outside, as under nohup, stays so."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        ignored = {number for number, handler in before.items() if handler is signal.SIG_IGN}
        self._numbers = tuple(n for n in SIGNALS if n == signal.SIGINT or n not in ignored)
        self._main, self._thread, self._stopped = _Count(), _Count(), False
        with ExitStack() as at_exit:
            for number in self._numbers:
                at_exit.callback(signal.signal, number, before[number])
            self.install()
            with self.watchdog.awake():
                yield self

    def install(self) -> None:
        """Take the signals back; Ray and Tune put handlers of their own in place."""
        for number in self._numbers:
            signal.signal(number, self._note)

    @contextmanager
    def patient(self, guard: Guard) -> Iterator[Guard]:
        """While trials run: the first signal is noted in `guard` and raises nothing."""
        with ExitStack() as at_exit:
            at_exit.callback(self._impatient)
            self._patient, self.watchdog.guard = True, guard
            yield guard

    def _impatient(self) -> None:
        guard, self.watchdog.guard = self.watchdog.guard, None
        self._patient = False
        if guard is not None and guard.asked:
            self._stopped = True
            late = f"the store does not answer; {GOES_ON}"
            self.watchdog.limit(_CLOSING_SECONDS, guard.code, late)

    def _note(self, number: int, _: FrameType | None) -> None:
        """In the main thread, between two of its instructions."""
        if self._main.repeats(number):
            return
        if self._patient and self._main.count == 1:
            if (guard := self.watchdog.guard) is not None:
                guard.ask(number)
            return
        raise Interrupted

    def _heard(self, number: int) -> None:
        """In the watchdog's thread, also while the main thread waits inside a library."""
        if number not in self._numbers or self._thread.repeats(number):
            return
        if self._thread.count == 1 and (guard := self.watchdog.guard) is not None:
            guard.ask(number)
        else:
            self.watchdog.limit(_AT_ONCE_SECONDS, self.code, f"ended at once; {GOES_ON}")


class _Count:
    """Signals as one thread learns of them."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.count = 0
        self._last = 0.0

    def repeats(self, number: int) -> bool:
        """Count a signal; True where it is the echo of one before."""
        now = time.monotonic()
        echo = self.count and number != signal.SIGINT and now - self._last < _ECHO_SECONDS
        self.first = self.first or number
        if not echo:
            self.count, self._last = self.count + 1, now
        return bool(echo)


INTERRUPTS = Interrupts()
"""Those of this process, as signals are; commands listen."""
