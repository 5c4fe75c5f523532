"""Comparisons made from a rule, without any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from pg_platform.report.comparison import Comparison
from pg_platform.report.points import PointResult
from pg_platform.report.statistics import Resolution, summarise
from pg_platform.sweep.trials import compact, short_labels
from tests.results import ACCURACY

Rule = Callable[[Mapping[str, Any]], Sequence[float]]
"""A point's values to the results of its seeds."""


def swept(parameters: Mapping[str, Sequence[Any]], rule: Rule) -> Comparison:
    """The grid of the parameters; a point without results has failed once."""
    labels = short_labels(list(parameters))
    points: list[PointResult] = []
    for values in product(*parameters.values()):
        point = dict(zip(parameters, values, strict=True))
        results = rule(point)
        points.append(
            PointResult(
                group=" ".join(f"{labels[key]}={compact(value)}" for key, value in point.items()),
                values=point,
                run_ids=tuple(f"{len(points)}-{seed}" for seed in range(len(results))),
                results=dict(enumerate(results)),
                summary=summarise(results),
                failed=0 if results else 1,
                infeasible=0,
                pruned=0,
                unreached=0,
                open=0,
            )
        )
    return Comparison(ACCURACY, tuple(points), points[0], Resolution(share=True, images=50_000))
