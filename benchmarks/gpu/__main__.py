"""The GPU kit: what the game does on this machine's card, in one command.

    python -m benchmarks.gpu --minutes 8 --out FOLDER [--only NAME] [--device cpu]

Runs from a checkout with nothing installed: benchmarks/README.md says what it needs. Each part is a
process with a time box of its own, so that one that fails, hangs or breaks its CUDA context
takes no other along. Writes gpu.json, gpu.md and the profiles into FOLDER. Exit code 0: every
part was measured and every check passed; 1: not so, and the tables say where; 2: usage.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.correctness import correctness
from benchmarks.gpu.figures import Sheet
from benchmarks.gpu.kernels import kernels
from benchmarks.gpu.profiling import profiling
from benchmarks.gpu.reading import on_card, reading
from benchmarks.gpu.report import as_markdown, machine
from benchmarks.gpu.sharing import sharing
from benchmarks.gpu.steps import steps

PARTS: dict[str, tuple[Callable[[Sheet], None], float]] = {
    "correctness": (correctness, 0.33),
    "step": (steps, 0.22),
    "on_card": (on_card, 0.10),
    "profile": (profiling, 0.06),
    "kernels": (kernels, 0.08),
    "reading": (reading, 0.13),
    "sharing": (sharing, 0.08),
}
"""Each part with its share of the time, in the order in which they run."""

GRACE_SECONDS = {"cuda": 30.0, "cpu": 300.0}
"""How much longer than its box a part may take to end what it has begun."""


def main() -> int:
    """Run the parts one after the other and write the tables after each."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [name for name in PARTS if options.only in (None, name)]
    seconds = 60 * options.minutes / sum(PARTS[name][1] for name in chosen)
    about = machine(torch.device(options.device), options.minutes, options.commit)
    parts: dict[str, dict[str, Any]] = {}
    for name in chosen:
        print(f"{name}: up to {seconds * PARTS[name][1]:.0f} s", flush=True)
        parts[name] = _run(name, options.device, seconds * PARTS[name][1], options.out)
        found = {"machine": about, "parts": parts}
        (options.out / "gpu.json").write_text(json.dumps(found, indent=1))
        (options.out / "gpu.md").write_text(as_markdown(found))
    print((options.out / "gpu.md").read_text())
    return 0 if all(part["whole"] for part in parts.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("gpu-kit"), help="where the tables go")
    parser.add_argument("--only", choices=PARTS, help="one part, which gets all the time")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--commit", help="of this checkout, where it is a copy without .git")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.minutes <= 0:
        parser.error(f"--minutes wants a number above 0, got {options.minutes:g}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine shows no GPU; --device cpu tries the kit itself")
    if options.part is not None:
        raise SystemExit(_part(options))
    return options


def _run(name: str, device: str, seconds: float, out: Path) -> dict[str, Any]:
    """A part in a process of its own; what it has written by its end, whatever ended it."""
    sheet, log = out / f"{name}.jsonl", out / f"{name}.log"
    sheet.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--device", device]
    command += ["--seconds", str(seconds), "--out", str(out)]
    started, limit = time.monotonic(), seconds + GRACE_SECONDS[device]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
        try:
            code: int | str = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = f"ended after {limit:.0f} s, in the middle of an item"
    lines = sheet.read_text().splitlines() if sheet.is_file() else []
    records = [json.loads(line) for line in lines]
    good = code == 0 and not any(
        record["kind"] == "failure" or not record.get("passed", True) for record in records
    )
    part = {
        "seconds": time.monotonic() - started,
        "exit": code,
        "whole": good,
        "records": records,
    }
    if code != 0:
        part["log"] = log.read_text()[-4000:]
    sheet.unlink(missing_ok=True)
    log.unlink()
    return part


def _part(options: argparse.Namespace) -> int:
    """What the process of a part does."""
    if options.device == "cpu":
        torch.set_num_threads(1)  # two that share a core wait for each other
    scratch = Path(tempfile.mkdtemp(prefix="gpu-kit-"))
    now = time.monotonic()
    sheet = Sheet(
        file=options.out / f"{options.part}.jsonl",
        device=torch.device("cuda", 0) if options.device == "cuda" else torch.device("cpu"),
        ends_at=now + options.seconds,
        seconds=options.seconds,
        scratch=scratch,
        kept=options.out,
    )
    try:
        PARTS[options.part][0](sheet)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
