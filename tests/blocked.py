"""An image that whoever decodes it waits for, so that a test knows where a trial stands."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.pictures import write_folder


class BlockedImage:
    """The last training image of a folder, as a pipe into which nobody writes."""

    def __init__(self, root: Path) -> None:
        """Writes the folder: 100 digits for training, 70 for validation."""
        self.path = write_folder(root / "train", 100)[-1]
        write_folder(root / "val", 70)
        self.kept = self.path.with_suffix(".kept")
        os.replace(self.path, self.kept)
        os.mkfifo(self.path)
        self.data = {
            "kind": "image_folder",
            "path": str(root),
            "image_size": 16,
            "loader_processes": 2,
        }

    def mend(self) -> None:
        """From now on it is an image as any other."""
        os.replace(self.kept, self.path)

    def kill_reader(
        self,
        command: subprocess.Popen[str],
        *,
        parent: bool = False,
        mend: bool = False,
        by: signal.Signals = signal.SIGKILL,
    ) -> bool:
        """Wait for a process that reads it and end it, or its parent; False where none comes.

        With `mend` the image is mended before.
        """
        writing = None
        while writing is None and command.poll() is None:
            with suppress(OSError):  # ENXIO: nobody reads
                writing = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.02)
        if writing is None:
            return False
        reader = self._reader(command)
        if mend:
            self.mend()
        ends = reader.parent() if parent else reader
        assert ends is not None, "the process that reads was started by the command"
        ends.send_signal(by)
        os.close(writing)  # a reader that has lost its parent looks for it once it goes on
        reader.wait()
        return True

    def _reader(self, command: subprocess.Popen[str]) -> psutil.Process:
        while True:
            for process in psutil.Process(command.pid).children(recursive=True):
                if _holds(process, self.path):
                    return process
            time.sleep(0.02)


def with_data(file: Path, data: Mapping[str, Any]) -> Path:
    """The sweep or experiment in `file`, on other images."""
    document = yaml.safe_load(file.read_text())
    document.get("experiment", document)["data"] = dict(data)
    file.write_text(yaml.safe_dump(document))
    return file


def _holds(process: psutil.Process, path: Path) -> bool:
    with suppress(OSError):
        links = Path(f"/proc/{process.pid}/fd").iterdir()
        return any(os.readlink(link) == str(path) for link in links)
    return False
