"""The installed commands, run as a user runs them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
    arguments: Sequence[str], home: Path, patience: float = PATIENCE, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A command to its end, in the store `home`, given in `folder` or here."""
    return subprocess.run(
        [str(BIN / arguments[0]), *arguments[1:]],
        cwd=folder,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=patience,
    )


def run_in_terminal(arguments: Sequence[str], home: Path) -> tuple[str, str]:
    """What a command prints, and shows on a terminal that is its stderr; it must end well."""
    ours, theirs = os.openpty()
    with tempfile.TemporaryFile("w+") as printed:
        started = subprocess.Popen(
            [str(BIN / arguments[0]), *arguments[1:]],
            env=environment(home) | {"TERM": "xterm", "COLUMNS": "100"},
            stdout=printed,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b"".join(_until_closed(ours))
        os.close(ours)
        assert started.wait(PATIENCE) == 0, shown.decode()
        printed.seek(0)
        return printed.read(), shown.decode()


def _until_closed(terminal: int) -> Iterator[bytes]:
    """What comes from a terminal until nobody writes to it any more, which Linux calls EIO."""
    with suppress(OSError):
        while content := os.read(terminal, 1 << 16):
            yield content


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
