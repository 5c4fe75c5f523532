"""What a trial tells its driver, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pg_platform.cluster.worker_process import Reporter
from pg_platform.training.failures import told
from pg_platform.training.history import DISK_FULL, OUT_OF_MEMORY
from tests.commands import run
from tests.results import rows
from tests.small import write_sweep


def epochs(sent: list[dict[str, Any]]) -> list[list[int]]:
    """The epochs in each message."""
    return [[row["epoch"] for row in message["rows"]] for message in sent]


def test_rows_of_short_epochs_go_together_and_none_is_lost() -> None:
    sent: list[dict[str, Any]] = []
    report = Reporter(sent.append, every_seconds=3600)
    for row in rows("train/loss", [3.0, 2.0, 1.0]):
        report([row])
    report.end("completed")
    assert epochs(sent) == [[1], [2, 3]]
    assert [message.get("outcome") for message in sent] == [None, "completed"]


def test_a_trial_that_waits_says_so_at_once_with_what_it_has_kept() -> None:
    sent: list[dict[str, Any]] = []
    report = Reporter(sent.append, every_seconds=3600)
    first, second = rows("train/loss", [2.0, 1.0])
    report([first])
    report([second])
    report([])
    assert epochs(sent) == [[1], [2]]


def test_workers_in_step_send_each_row() -> None:
    sent: list[dict[str, Any]] = []
    report = Reporter(sent.append)
    for row in rows("train/loss", [2.0, 1.0]):
        report([row])
    assert epochs(sent) == [[1], [2]]


def test_a_shortage_stands_before_its_traceback() -> None:
    full = told(OSError(28, "No space left on device"), "/trials/a")
    assert full.startswith(f"{DISK_FULL}: /trials/a: [Errno 28] No space left on device\n")
    assert told(MemoryError("4 TB"), "/trials/a").startswith(f"{OUT_OF_MEMORY}: 4 TB\n")
    assert told(ValueError("no"), "/trials/a").startswith("ValueError")


def test_more_memory_than_the_machine_has_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, {"resources": {"gib_per_worker": 1e6}})
    done = run(["pg-sweep", str(file)], tmp_path / "home")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "asks for 1 CPUs, 0 GPUs, 1e+06 GiB for workers and the machine has" in done.stderr
    assert "--set resources.gib_per_worker=0" in done.stderr
