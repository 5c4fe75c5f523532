"""How fast shapes of trials run, as finished runs and calibrations tell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pg_platform.files import locked
from pg_platform.store.stored_run import StoredRun

SPEED = "perf/images_per_s"


MEMORY = "perf/peak_memory_gib"


Basis = Literal["runs", "steps", "calibration"]
"""Whole runs; the steps alone of runs that were cut off; a few steps timed for this."""


@dataclass(frozen=True)
class Pace:
    """One measurement: `images_per_s` of all workers of a trial on `device`.

    `peak_gib` is the most memory that a worker held, of the `device_gib` that there is; None in
    runs of releases that did not measure it.
    """

    images_per_s: float
    device: str
    basis: Basis
    peak_gib: float | None = None
    device_gib: float | None = None


def pace_of(run: StoredRun) -> Pace | None:
    """What a finished run says of its shape; None where it says nothing.

    A run in one go knows its whole time: start, validation and checkpoints are in it. Of one that
    was resumed the speed of its last epoch counts, which is that of its steps alone.
    """
    tags, speed = run.tags, run.metrics.get(SPEED, 0.0)
    basis: Basis
    if run.status != "FINISHED" or not {"pg.shape", "pg.device"} <= tags.keys():
        return None
    if {"pg.seconds", "pg.images"} <= tags.keys():
        speed, basis = float(tags["pg.images"]) / float(tags["pg.seconds"]), "runs"
    elif math.isfinite(speed) and speed > 0:
        basis = "steps"
    else:
        return None
    device_gib = float(tags["pg.device_gib"]) if "pg.device_gib" in tags else None
    return Pace(speed, tags["pg.device"], basis, run.metrics.get(MEMORY), device_gib)


def chosen(paces: Sequence[Pace]) -> list[Pace]:
    """The best basis there is, on the device that was measured last on it; never a mixture."""
    for basis in ("runs", "steps", "calibration"):
        if same := [pace for pace in paces if pace.basis == basis]:
            return [pace for pace in same if pace.device == same[-1].device]
    return []


def described(paces: Sequence[Pace]) -> str:
    """`3 runs on cpu`."""
    if not paces:
        return ""
    count, device = len(paces), paces[0].device
    match paces[0].basis:
        case "runs":
            what = f"{count} run{'s' * (count > 1)}"
        case "steps":
            what = f"the steps of {count} resumed run{'s' * (count > 1)}"
        case "calibration":
            what = "calibrated steps"
    return f"{what} on {device}"


FILE = "calibrations.json"


def calibrations(root: Path) -> dict[str, list[Pace]]:
    """Those kept below `root`, by shape, the last measured last; ValueError where unreadable."""
    file = root / FILE
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text())
        return {
            shape: [Pace(device=device, basis="calibration", **pace) for device, pace in by.items()]
            for shape, by in found.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not as it was written ({error}); delete it") from error


def keep_calibration(root: Path, shape: str, pace: Pace) -> None:
    """Add one; it replaces that of the same shape on the same device."""
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f".{FILE}.lock"):
        paces = calibrations(root)
        others = [other for other in paces.get(shape, ()) if other.device != pace.device]
        paces[shape] = [*others, pace]
        _write(root / FILE, paces)


def _write(file: Path, paces: Mapping[str, list[Pace]]) -> None:
    plain = {shape: {pace.device: _plain(pace) for pace in some} for shape, some in paces.items()}
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(plain, indent=1) + "\n")
    partial.replace(file)


def _plain(pace: Pace) -> dict[str, Any]:
    return {k: v for k, v in asdict(pace).items() if k not in {"device", "basis"}}
