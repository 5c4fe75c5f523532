"""How another terminal sees a sweep that runs, and asks something of it: through files.

Below `control/SWEEP/` of the store the driver keeps `status.json`, and looks for requests.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pg_platform.config.errors import InfrastructureError

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


def _replace(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}")
    partial.write_text(text)
    partial.replace(file)
