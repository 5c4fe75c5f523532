"""The installed commands, run as a user runs them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.small import environment

BIN = Path(sys.executable).parent
PATIENCE = 280


def in_header(file: Path) -> list[list[str]]:
    """The commands in the comments that a sweep file opens with, each as its arguments."""
    lines = [line.removeprefix("#") for line in file.read_text().splitlines() if line[:1] == "#"]
    text = "\n".join(line.strip() for line in lines).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.startswith("pg-sweep ")]


def run(
    arguments: Sequence[str], home: Path, patience: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """A command to its end, in the store `home`."""
    return subprocess.run(
        [str(BIN / arguments[0]), *arguments[1:]],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=patience,
    )


def start(arguments: Sequence[str], home: Path, uri: str | None = None) -> subprocess.Popen[str]:
    """A command under way; its output goes to files that nobody needs to read for it to go on."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "stdout.txt").open("w") as out, (home / "stderr.txt").open("w") as err:
        return subprocess.Popen(
            [str(BIN / arguments[0]), *arguments[1:]],
            env=environment(home, uri),
            stdout=out,
            stderr=err,
            text=True,
        )
