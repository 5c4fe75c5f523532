"""A run's metrics.jsonl survives a kill."""

from __future__ import annotations

from pathlib import Path

from pg_platform.training.history import Journal, Row
from tests.results import rows

ROWS = rows("val/loss", [3.0, 2.0, 1.0])


def written(path: Path, rows: list[Row]) -> Journal:
    """A journal with these rows."""
    journal = Journal(path)
    journal.restart([])
    for row in rows:
        journal.append(row)
    return journal


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    assert written(tmp_path / "run" / "metrics.jsonl", ROWS).rows() == ROWS


def test_a_run_without_a_journal_has_no_rows(tmp_path: Path) -> None:
    assert Journal(tmp_path / "metrics.jsonl").rows() == []


def test_a_kill_while_writing_costs_the_torn_row_alone(tmp_path: Path) -> None:
    journal = written(tmp_path / "metrics.jsonl", ROWS)
    whole = journal.path.read_bytes()
    ends = [end + 1 for end, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        journal.path.write_bytes(whole[:cut])
        assert journal.rows() == ROWS[: sum(end <= cut for end in ends)]


def test_a_resumed_run_forgets_the_rows_after_its_checkpoint(tmp_path: Path) -> None:
    journal = written(tmp_path / "metrics.jsonl", ROWS)
    journal.restart(ROWS[:2])
    journal.append(ROWS[2])
    assert journal.rows() == ROWS
