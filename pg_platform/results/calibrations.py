"""Speed and memory of shapes that were timed: calibrations.json in the store's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pg_platform.results.database import locked
from pg_platform.results.forecast import Pace

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
