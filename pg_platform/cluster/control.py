"""How another terminal sees a sweep that runs, and asks something of it: through files.

Below `control/SWEEP/` of the store the driver keeps `status.json`, and looks for requests.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Verb = Literal["stop", "cancel", "kill"]
_WRITE_SECONDS = 1.0


@dataclass(frozen=True)
class Request:
    """`stop`: let running trials checkpoint; `cancel`: end at once; `kill`: one `trial`."""

    verb: Verb
    trial: str | None = None


class Control:
    """One sweep's folder of status and requests, for both ends."""

    def __init__(self, root: Path, sweep: str) -> None:
        self.sweep = sweep
        self.folder = root / "control" / sweep
        self.written = 0.0

    def open(self) -> None:
        """The driver begins: what was asked of one before is void."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self.folder.glob("request-*.json"):
            file.unlink()

    def requests(self) -> Iterator[Request]:
        """New requests, each given once, the oldest first."""
        for file in sorted(self.folder.glob("request-*.json")):
            asked = json.loads(file.read_text())
            file.unlink()
            yield Request(asked["verb"], asked["trial"])

    def ask(self, request: Request) -> None:
        """Leave a request for the driver; ValueError where none runs."""
        if (status := self.status()) is None or not status["running"]:
            raise ValueError(f"no driver runs the sweep {self.sweep} on this store; see pg-ui")
        text = json.dumps({"verb": request.verb, "trial": request.trial})
        _replace(self.folder / f"request-{time.time_ns()}-{uuid.uuid4().hex[:6]}.json", text)

    def write(self, status: Mapping[str, Any], *, now: bool = False) -> None:
        """Keep `status`, at most once a second unless `now`."""
        if now or time.monotonic() - self.written >= _WRITE_SECONDS:
            self.written = time.monotonic()
            told = {"sweep": self.sweep, "pid": os.getpid(), "time": time.time(), **status}
            _replace(self.folder / "status.json", json.dumps(told))

    def status(self) -> dict[str, Any] | None:
        """What the driver said last; `running` only while its process lives. None: never ran."""
        file = self.folder / "status.json"
        if not file.is_file():
            return None
        status: dict[str, Any] = json.loads(file.read_text())
        return status | {"running": status["running"] and Path(f"/proc/{status['pid']}").exists()}


def _replace(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}")
    partial.write_text(text)
    partial.replace(file)
