"""What an evaluation found on one run: numbers, tables, figures and a few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pg_platform.store.table import Table


@dataclass(frozen=True)
class EvaluationResult:
    """All that goes back to the run.

    `metrics` are named with their protocol (`knn/top1_k20_T0.07`). `tables`, `figures` and
    `files` are keyed by their path below the evaluation's own folder, without a suffix for
    tables and figures. `words` is what a reader should take away, one sentence a line.
    """

    metrics: Mapping[str, float]
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    words: str = ""
