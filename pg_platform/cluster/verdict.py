"""How the trials of one call ended."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Verdict:
    """Trial ids by how they ended in this call; `failed` holds the traceback."""

    finished: set[str] = field(default_factory=set)
    interrupted: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
