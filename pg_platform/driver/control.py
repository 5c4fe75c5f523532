"""How another terminal sees a sweep that runs, and asks something of it: through files.

Below `control/SWEEP/` of the store the driver keeps `status.json`, and looks for requests.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Self

from pg_platform.config.errors import InfrastructureError
from pg_platform.driver.scheduler import Scheduler
from pg_platform.driver.watchdog import GOES_ON, DriverGuard, Watchdog, exit_code
from pg_platform.files import _replace

Verb = Literal["stop", "cancel", "kill"]


_WRITE_SECONDS = 1.0


@dataclass(frozen=True)
class Request:
    """`stop`: let running trials checkpoint; `cancel`: end at once; `kill`: one `trial`."""

    verb: Verb
    trial: str | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """What a file of `Control.ask` holds; ValueError for any other text."""
        match json.loads(text):
            case {"verb": "stop" | "cancel" as verb, "trial": None}:
                return cls(verb)
            case {"verb": "kill", "trial": str(trial)}:
                return cls("kill", trial)
        raise ValueError(f"wants stop, cancel, or kill with a trial, got {text!r}")


@dataclass(frozen=True)
class Unread:
    """A request that is none: its file, set aside, and what is wrong with it."""

    file: Path
    why: str


class Control:
    """One sweep's folder of status and requests, for both ends."""

    def __init__(self, root: Path, sweep: str) -> None:
        self.root, self.sweep = root, sweep
        self.folder = root / "control" / sweep
        self.written = 0.0

    @staticmethod
    def names(root: Path) -> list[str]:
        """The sweeps that ever had a driver on this store."""
        return sorted(file.parent.name for file in (root / "control").glob("*/status.json"))

    def open(self) -> None:
        """The driver begins: what was asked of one before is void."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self.folder.glob("request-*.json"):
            file.unlink()

    def requests(self) -> Iterator[Request | Unread]:
        """New requests, each given once, the oldest first; what cannot be read is set aside."""
        for file in sorted(self.folder.glob("request-*.json")):
            try:
                request = Request.read(file.read_text())
            except ValueError as error:  # json and text that is no UTF-8 are of that kind too
                yield Unread(file.replace(file.with_name(f"unread-{file.name}")), str(error))
                continue
            file.unlink()
            yield request

    def unread(self, seconds: float) -> bool:
        """Whether a request that ends the sweep has been here for so long, read by nobody."""
        asked = (file for file in self.folder.glob("request-*.json") if _age(file) >= seconds)
        return any('"verb": "kill"' not in file.read_text() for file in asked)

    def ask(self, request: Request) -> None:
        """Leave a request for the driver; ValueError where none runs."""
        if (status := self.status()) is None or not status["running"]:
            raise ValueError(
                f"no driver runs the sweep {self.sweep} on this store; see pg-ui for those that "
                "run, or start it with pg-sweep"
            )
        name = f"request-{time.time_ns()}-{uuid.uuid4().hex[:6]}.json"
        _replace(self.folder / name, json.dumps(asdict(request)))

    def write(self, status: Mapping[str, Any], *, now: bool = False) -> None:
        """Keep `status`, at most once a second unless `now`."""
        if now or time.monotonic() - self.written >= _WRITE_SECONDS:
            self.written = time.monotonic()
            pid = os.getpid()
            driver = {"sweep": self.sweep, "pid": pid, "began": began(pid), "time": time.time()}
            driver["home"] = str(self.root)  # a copy of the store has no driver
            _replace(self.folder / "status.json", json.dumps(driver | dict(status)))

    def status(self) -> dict[str, Any] | None:
        """What the driver said last; `running` only while its process lives. None: never ran.

        One that was written before it held `began` reads as not running, and so does one that was
        copied with the store. Raises InfrastructureError for a file that is no status.
        """
        file = self.folder / "status.json"
        if not file.is_file():
            return None
        status = _read(file)
        lives = "began" in status and status["began"] == began(status["pid"])
        here = status.get("home", str(self.root)) == str(self.root)
        return status | {"running": status["running"] and lives and here}


def _read(file: Path) -> dict[str, Any]:
    try:
        status = json.loads(file.read_text())
    except ValueError as error:  # text that is no UTF-8 is of that kind too
        raise _no_status(file, str(error)) from error
    match status:
        case {"running": bool(), "pid": int(), "trials": [*trials]} if all(map(_is_trial, trials)):
            return dict(status)
    raise _no_status(file, "it lacks running, pid or trials with their states")


def _is_trial(value: Any) -> bool:
    match value:
        case {"name": str(), "state": str(), "epoch": str(), "value": str()}:
            return True
    return False


def _no_status(file: Path, why: str) -> InfrastructureError:
    return InfrastructureError(
        f"{file}: not as a driver writes it ({why}); delete it, and the sweep's next driver writes "
        "it anew"
    )


def began(pid: int) -> str | None:
    """What tells a process from a later one with its number; None where it has ended.

    That is the boot of the machine and the clock ticks from there to the process's start.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends while it is read
        return None
    state, ticks = fields[0], fields[19]  # proc_pid_stat(5): from the third field on
    if state in "ZX":  # ended, and not yet waited for
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{ticks}"


def _age(file: Path) -> float:
    return time.time() - file.stat().st_mtime


def status_lines(root: Path, sweep: str) -> Iterator[str]:
    """How a sweep that runs stands, a line a trial."""
    status = read_status(root, sweep)
    yield f"{sweep}: {'running' if status['running'] else 'not running'}"
    for trial in status["trials"]:
        told = (trial[part] for part in ("name", "state", "epoch", "value"))
        yield "  ".join(filter(None, told))


def read_status(root: Path, sweep: str) -> dict[str, Any]:
    """What the driver of a sweep said last; ValueError where there never was one."""
    status = Control(root, sweep).status()
    if status is None:
        raise ValueError(f"no driver has run the sweep {sweep} on this store yet")
    return status


def ask(root: Path, sweep: str, request: Request) -> None:
    """Ask something of the driver; ValueError where none runs, or it has no such trial."""
    trials = {trial["name"] for trial in read_status(root, sweep)["trials"]}
    if request.trial is not None and request.trial not in trials:
        known = ", ".join(sorted(trials))
        raise ValueError(f"{sweep} has no trial {request.trial!r}; it has {known}")
    Control(root, sweep).ask(request)


def obey(
    scheduler: Scheduler,
    control: Control,
    ask_to_stop: Callable[[Sequence[str]], None],
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Carry out what was asked since the last call, and keep the status that others read.

    `stopping` is told that all is to stop. Raises KeyboardInterrupt for `cancel`: running trials
    go on from their last checkpoint.
    """
    for request in control.requests():
        match request:
            case Unread(file=file, why=why):
                scheduler.record.say(f"a request was not understood and lies in {file}: {why}")
            case Request():
                _obey(scheduler, request, ask_to_stop, stopping)
    control.write({"running": True, "trials": scheduler.record.screen.states()})


def _obey(
    scheduler: Scheduler,
    request: Request,
    ask_to_stop: Callable[[Sequence[str]], None],
    stopping: Callable[[], None],
) -> None:
    match request.verb:
        case "stop":
            scheduler.record.verdict.stopped = True
            scheduler.close("asked to stop")
            stopping()
            ask_to_stop(list(scheduler.running))
        case "cancel":
            scheduler.record.verdict.cancelled = True
            scheduler.close("cancelled")
            raise KeyboardInterrupt
        case "kill":
            trials = [t for t in scheduler.trials.values() if request.trial in (t.id, t.name)]
            for trial in trials:
                if scheduler.leave_out(trial.id, "killed"):
                    ask_to_stop([trial.id])
            if not trials:
                scheduler.record.say(f"asked to kill {request.trial}, which is no trial here")


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
            at_exit.callback(setattr, self, "_numbers", ())
            for number in self._numbers:
                at_exit.callback(signal.signal, number, before[number])
            self.install()
            with self.watchdog.awake():
                yield self

    def install(self) -> None:
        """Take the signals back; Ray and Tune put handlers of their own in place.

        Nothing where no command listens: a notebook and a script keep their own handlers.
        """
        for number in self._numbers:
            signal.signal(number, self._note)

    @contextmanager
    def patient(self, guard: DriverGuard) -> Iterator[DriverGuard]:
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
