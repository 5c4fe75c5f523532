"""How much of the difference between points each parameter explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from pg_platform.report.axes import in_order, is_log, is_number
from pg_platform.report.comparison import Comparison
from pg_platform.report.points import PointResult
from pg_platform.sweep.trials import compact

FEWEST_POINTS = 4
_ABSENT = "(absent)"
_SEED = 0


def importances(comparison: Comparison) -> dict[str, float]:
    """The share of each parameter in the variance of the points' means, largest first; sum 1.

    Functional ANOVA on a random forest (Hutter et al. 2014, Optuna's). Noise between seeds counts
    as if a parameter had made it. Empty where `unknown_because` gives a reason.
    """
    if unknown_because(comparison) is not None:
        return {}
    points = _with_result(comparison)
    columns = {key: _column(key, points) for key in _varied(points)}
    trials = [
        create_trial(
            params={key: values[at] for key, (_, values) in columns.items()},
            distributions={key: space for key, (space, _) in columns.items()},
            value=point.summary.mean,
        )
        for at, point in enumerate(points)
    ]
    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        study.add_trials(trials)
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=_SEED))
    finally:
        optuna.logging.set_verbosity(shown)
    return {key: float(share) for key, share in shares.items()}


def unknown_because(comparison: Comparison) -> str | None:
    """Why there are no importances; None where there are."""
    points = _with_result(comparison)
    if len(points) < FEWEST_POINTS:
        return f"importances want {FEWEST_POINTS} points with a result, there are {len(points)}"
    if not _varied(points):
        return "no parameter has two values among the points with a result"
    if len({point.summary.mean for point in points}) == 1:
        return "all points have one and the same mean"
    if comparison.is_guessing:
        return "no point is told apart from chance, so there is nothing to explain"
    return None


def _with_result(comparison: Comparison) -> list[PointResult]:
    return [point for point in comparison.points if point.summary.n]


def _varied(points: Sequence[PointResult]) -> list[str]:
    keys = dict.fromkeys(key for point in points for key in point.values)
    return [key for key in keys if len({compact(_value(p, key)) for p in points}) > 1]


def _value(point: PointResult, key: str) -> Any:
    """The point's value; a parameter that the point does not have is a value of its own."""
    return point.values.get(key, _ABSENT)


def _column(key: str, points: Sequence[PointResult]) -> tuple[BaseDistribution, list[Any]]:
    """The space of a parameter and its value at each point.

    Categories where values come again, as in a grid; a range for the numbers of a random search.
    Optuna's forest knows no logarithm, so that a range of spread numbers is one of exponents.
    """
    values = [_value(point, key) for point in points]
    distinct = in_order(values)
    if not all(map(is_number, distinct)) or 2 * len(distinct) <= len(values):
        texts = [compact(value) for value in values]
        return CategoricalDistribution(list(dict.fromkeys(texts))), texts
    log = is_log(key, distinct, log=False)
    numbers = [math.log(value) if log else float(value) for value in values]
    return FloatDistribution(min(numbers), max(numbers)), numbers
