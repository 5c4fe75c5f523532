"""A store that was moved or copied: the paths in its database follow it.

MLflow keeps, with each experiment and run, where its files lie, and knows absolute places only.
So they are written anew when a store is opened in another folder than before. Checkpoints are kept
by their path below the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pg_platform.config.errors import InfrastructureError
from pg_platform.files import BUSY_SECONDS, is_held

ARTIFACTS = "artifacts"
CHECKPOINTS = "pg.checkpoints"
"""The tag of a trial's run that says where its checkpoints lie."""

_BELOW_EXPERIMENTS = (("runs", "artifact_uri"), ("logged_models", "artifact_location"))


@dataclass(frozen=True)
class _Move:
    """An experiment whose files are not where the store is; its place as the database has it."""

    experiment: int
    old: str
    new: str


def follow(database: Path) -> str | None:
    """Makes the paths in the database of a store those of the folder where it lies.

    Gives what to tell of it, None where nothing had to be done. What lies at its old place only
    stays there. Raises InfrastructureError where a driver uses the store at the old place.
    """
    root = database.parent
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        before = _roots(connection)
        moves = list(_moves(connection, root, before - {root}))
        here = [move for move in moves if move.experiment != 0]
        driven = sorted(file.stem for file in (root / "locks").glob("*.lock") if is_held(file))
        if here and driven:
            raise InfrastructureError(
                f"{root}: {', '.join(driven)} runs on this store, which is known there as "
                f"{_told(before - {root})}; name that one with PG_HOME, or wait for its end"
            )
        for move in moves:
            _rewrite(connection, move)
        tags = list(_checkpoints(connection, root, before))
        connection.executemany("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?", tags)
    if here:
        return (
            f"{root}: moved or copied from {_told(before - {root})}; the files of {len(here)} "
            "experiments are looked for and written here from now on"
        )
    if tags:
        return f"{root}: the checkpoints of {len(tags)} runs are known by their paths below it now"
    return None


def _roots(connection: sqlite3.Connection) -> set[Path]:
    """Where the store was: experiments lie at ROOT/artifacts/NAME, or by their number."""
    rows = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments")
    found = set()
    for number, name, location in rows:
        path = _local(location)
        for last in (Path(ARTIFACTS, name), Path(ARTIFACTS, str(number))):
            if path is not None and path.parts[-len(last.parts) :] == last.parts:
                found.add(path.parents[len(last.parts) - 1])
    return found


def _moves(connection: sqlite3.Connection, root: Path, before: set[Path]) -> Iterator[_Move]:
    rows = connection.execute("SELECT experiment_id, artifact_location FROM experiments")
    for number, location in rows.fetchall():
        path = _local(location)
        old = next(
            (each for each in before if path and path.is_relative_to(each / ARTIFACTS)), None
        )
        if path is not None and old is not None and old != root:
            if _belongs(new := root / path.relative_to(old), path):
                yield _Move(number, location, new.as_uri())
        elif number == 0 and old is None and not _has_runs(connection, number):
            # MLflow makes this one in the current folder.
            yield _Move(number, location, (root / ARTIFACTS / "0").as_uri())


def _root_of(path: Path, roots: set[Path], part: str) -> Path | None:
    return next((root for root in roots if path.is_relative_to(root / part)), None)


def _belongs(new: Path, old: Path) -> bool:
    """Whether what the store has at `old` is to be looked for at `new`."""
    return new.exists() or not old.exists()


def _has_runs(connection: sqlite3.Connection, experiment: int) -> bool:
    found = connection.execute("SELECT 1 FROM runs WHERE experiment_id = ?", [experiment])
    return found.fetchone() is not None


def _rewrite(connection: sqlite3.Connection, move: _Move) -> None:
    connection.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
        [move.new, move.experiment],
    )
    for table, column in _BELOW_EXPERIMENTS:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE experiment_id = ? AND substr({column}, 1, ?) = ?",
            [
                *(move.new, len(move.old) + 1, move.experiment),
                *(len(move.old) + 1, f"{move.old}/"),
            ],
        )


def _checkpoints(
    connection: sqlite3.Connection, root: Path, before: set[Path]
) -> Iterator[tuple[str, str, str]]:
    """(path below the store, run, tag) of the trials whose tag has a path from the root."""
    rows = connection.execute(
        "SELECT run_uuid, value FROM tags WHERE key = ? AND value LIKE '/%'", [CHECKPOINTS]
    )
    for run_id, value in rows.fetchall():
        path = Path(value)
        if (old := _root_of(path, before | {root}, "trials")) is not None:
            below = path.relative_to(old)
            if _belongs(root / below, path):
                yield str(below), run_id, CHECKPOINTS


def _local(location: str) -> Path | None:
    """The path of a place on this machine; None for others."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


def _told(roots: set[Path]) -> str:
    return ", ".join(map(str, sorted(roots)))
