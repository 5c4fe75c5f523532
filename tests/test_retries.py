"""What time can mend is tried again, `max_failures` times in all; the rest fails once."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pg_platform.data.loader_processes import LoaderLostError
from pg_platform.store.store import Store
from pg_platform.training.failures import lasting, told
from tests.blocked import BlockedImage, with_data
from tests.commands import run, start
from tests.pictures import encoded_digits, write_parquet
from tests.small import write_experiment, write_sweep
from tests.small_sweeps import reasons, runs, vocabularies

ONE = {"seeds": 1, "parameters": vocabularies(8), "experiment": {"epochs": 1}}
SHARED_BY_TWO = {**ONE, "resources": {"workers": 2}}


def with_words_for_labels(folder: Path) -> Mapping[str, Any]:
    """A parquet file whose footer is sound: only who opens the images sees what is wrong."""
    images = [image for image, _ in encoded_digits(400, "png", (12, 12))]
    file = write_parquet(folder / "words.parquet", images, ["a digit"] * len(images))  # type: ignore[list-item]
    return {"kind": "parquet", "path": str(file), "image_size": 16, "val_fraction": 0.3}


def assert_told_in_a_line(stderr: str, name: str) -> Path:
    """The error stands there once, in one line, with where its traceback lies."""
    assert "Traceback" not in stderr
    (line,) = (line for line in stderr.splitlines() if line.startswith("failed: "))
    assert line.startswith(f"failed: {name}: ValueError: data.label_column")
    (log,) = re.findall(r"traceback.*: (/.*errors\.log)$", stderr, re.MULTILINE)
    assert len(stderr.splitlines()) == 3, stderr
    return Path(log)


@pytest.mark.parametrize("together", [False, True])
def test_what_would_fail_again_fails_once_and_stays_failed(tmp_path: Path, together: bool) -> None:  # noqa: FBT001
    changes = SHARED_BY_TWO if together else ONE
    home = tmp_path / "home"
    file = with_data(write_sweep(tmp_path, changes), with_words_for_labels(tmp_path))
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 1, done.stdout + done.stderr
    log = assert_told_in_a_line(done.stderr, "V=8 seed=0")
    assert log.read_text().count("Traceback") >= 1
    assert log.read_text().count(" UTC  ValueError") == 1
    (trial,) = runs(home).values()
    assert trial.tags["pg.attempt"] == "1"
    again = run(["pg-sweep", str(file)], home)
    assert again.returncode == 1
    assert "1 failed before, not tried again (--retry-failed)" in again.stdout
    assert "failed: V=8 seed=0: failed before" in again.stderr
    assert str(log) in again.stderr
    with Store.open(home) as store:
        (parent,) = store.sweeps()
        assert parent.tags["pg.stop_reason"] == "some failed"


def test_a_single_run_fails_once_with_a_line(tmp_path: Path) -> None:
    file = with_data(write_experiment(tmp_path, {}), with_words_for_labels(tmp_path))
    done = run(["pg-train", str(file)], tmp_path / "home")
    assert done.returncode == 1, done.stdout + done.stderr
    log = assert_told_in_a_line(done.stderr, "small")
    assert log.read_text().count(" UTC  ValueError") == 1
    assert "the same command tries it again" in done.stderr


@pytest.mark.parametrize("command", [["pg-sweep"], ["pg-train", "--local"]])
def test_a_loader_process_that_is_killed_costs_a_way_back_and_no_trial(
    tmp_path: Path, command: list[str]
) -> None:
    blocked, home = BlockedImage(tmp_path / "images"), tmp_path / "home"
    write = write_sweep if command == ["pg-sweep"] else write_experiment
    small = {"batch_size": 50, "epochs": 2}
    file = write(tmp_path, {**ONE, "experiment": small} if command == ["pg-sweep"] else small)
    process = start([*command, str(with_data(file, blocked.data))], home)
    assert blocked.kill_reader(process, mend=True)
    assert process.wait(timeout=200) == 0, (home / "stderr.txt").read_text()
    told = (home / "stdout.txt").read_text()
    assert re.search(
        r"loader process \d+ was killed by SIGKILL.*starting it again \(1 of 3\)", told
    )
    assert (home / "stderr.txt").read_text() == ""
    with Store.open(home) as store:
        (trial,) = store.finished_trials("small" if command == ["pg-sweep"] else "train")
    assert trial.tags["pg.attempt"] == "2"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["loader process", "worker"])
@pytest.mark.parametrize("together", [False, True])
def test_a_process_that_always_dies_is_started_as_often_as_the_file_says(
    tmp_path: Path,
    together: bool,  # noqa: FBT001
    victim: str,
) -> None:
    blocked, home = BlockedImage(tmp_path / "images"), tmp_path / "home"
    changes = {**(SHARED_BY_TWO if together else ONE), "max_failures": 2}
    changes = {**changes, "experiment": {"batch_size": 50}}
    file = with_data(write_sweep(tmp_path, changes), blocked.data)
    process = start(["pg-sweep", str(file)], home)
    starts = 0
    by = signal.SIGSEGV if victim == "worker" else signal.SIGKILL
    while blocked.kill_reader(process, parent=victim == "worker", by=by):
        starts += 1
    assert starts == 3
    assert process.wait(timeout=60) == 1
    stderr = (home / "stderr.txt").read_text()
    assert "max_failures of 2 used up" in stderr
    assert "Traceback" not in stderr
    assert f"killed by {by.name}" in stderr
    assert (home / "stdout.txt").read_text().count("starting it again") == 2
    assert reasons(home) == {"V=8 seed=0": "error"}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (TimeoutError("no answer"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (LoaderLostError("loader process 7 was killed by SIGKILL"), True),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), True),
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/photos"), False),
        (PermissionError(errno.EACCES, "Permission denied", "/photos"), False),
        (ValueError("data.path: no folder photos"), False),
        (AttributeError("no attribute x"), False),
        (EOFError("Ran out of input"), False),
        (MemoryError("4 TB"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_only_what_time_can_mend_is_tried_again(error: Exception, *, again: bool) -> None:
    assert lasting(error) is not again


def test_an_error_from_a_loader_process_is_told_in_its_own_words() -> None:
    wrapped = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "x.py", line 1, in f\nValueError: no such row\n'
    )
    assert told(ValueError(wrapped), "/trials/a").splitlines()[0] == "ValueError: no such row"
