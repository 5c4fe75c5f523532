"""Which code a result comes from: a hash of the sources that training can reach.

Those are training and the floors below it, methods, data, game and config: nothing above can decide
a result, for imports go down only. Reports, evaluations and commands may change without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

DECIDING = ("config", "data", "game", "methods.py", "training")
_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def code_identity() -> str:
    """12 hex digits of this process's code, read when it is first asked for."""
    return identity_of(_PACKAGE)


def identity_of(package: Path) -> str:
    """12 hex digits: equal for folders whose deciding sources have equal names and bytes."""
    found = hashlib.sha256()
    for source in _sources(package):
        content = source.read_bytes()
        found.update(f"{source.relative_to(package).as_posix()} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:12]


def _sources(package: Path) -> Iterator[Path]:
    for name in DECIDING:
        place = package / name
        yield from [place] if place.is_file() else sorted(place.rglob("*.py"))
