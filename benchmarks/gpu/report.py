"""The kit's findings as a page of Markdown, and what machine they are of."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torchvision

ROOT = Path(__file__).resolve().parents[2]


def machine(device: torch.device, minutes: float, commit: str | None) -> dict[str, str]:
    """What a reader must know of where the figures are from."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit or _printed(["git", "describe", "--always", "--dirty"], ROOT) or "unknown",
        "minutes": f"{minutes:g}",
        "device": "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cpu": f"{_processor()}, {torch.get_num_threads()} threads",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "device": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
            "cuda": str(torch.version.cuda),
            "driver": _printed(
                ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], ROOT
            )
            or "unknown",
        }
    return facts


def as_markdown(found: dict[str, Any]) -> str:
    """The page: machine, verdicts first, then a table a part, what failed last."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield "# What the GPU kit found"
    yield ""
    yield from (f"- {name}: {value}" for name, value in found["machine"].items())
    yield ""
    yield "| part | seconds | figures | checks passed | failures | not measured |"
    yield "|---|---|---|---|---|---|"
    yield from (_summary(name, part) for name, part in found["parts"].items())
    for name, part in found["parts"].items():
        yield from ("", f"## {name}", "")
        yield from _part(part)


def _summary(name: str, part: dict[str, Any]) -> str:
    records = part["records"]
    checks = [record["passed"] for record in records if record["kind"] == "check"]
    kinds = [record["kind"] for record in records]
    skipped = sum(record.get("text", "").startswith("not measured") for record in records)
    failures = kinds.count("failure") + (part["exit"] != 0)
    return (
        f"| {name} | {part['seconds']:.0f} | {kinds.count('figure')} | "
        f"{sum(checks)} of {len(checks)} | {failures} | {skipped} |"
    )


def _part(part: dict[str, Any]) -> Iterator[str]:
    figures = [record for record in part["records"] if record["kind"] == "figure"]
    if figures:
        yield "| figure | median | unit | lowest to highest | n |"
        yield "|---|---|---|---|---|"
        for one in figures:
            spread = f"{one['low']:.4g} to {one['high']:.4g}" if "low" in one else ""
            name = one["name"].replace("|", "\\|")
            yield f"| {name} | {one['value']:.4g} | {one['unit']} | {spread} | {one.get('n', '')} |"
        yield ""
    for one in part["records"]:
        match one["kind"]:
            case "check":
                word = "passed" if one["passed"] else "**FAILED**"
                yield f"- {word}: {one['name']} ({one['found']})"
            case "note":
                yield f"- {one['name']}: {one['text']}"
            case "failure":
                yield f"- **FAILED**: {one['name']}: {one['error']}"
    if part["exit"] != 0:
        yield f"- **FAILED**: the part's process: {part['exit']}"


def _printed(command: list[str], folder: Path) -> str | None:
    """The first line that a command prints; None where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
