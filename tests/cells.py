"""Cells of a table of what theory says of a metric about five speakers that are known.

A cell is a formula of the images and how far the metric may be from it. The tolerance is rounding
(EXACT) where the formula holds for these very images, and sampling where it holds on average.
None: the metric is not defined, and must not be given. OPEN: theory says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.laws import entropy
from tests.toys import World

Law = tuple[Callable[[World], float], float]
Row = tuple[Law | None, Law | None, Law | None, Law | None, Law | None]
"""Of the constant, random, leaking, compositional and holistic speaker."""

EXACT, DEALS = 1e-6, 19
"""Rounding; permutations of each null."""


def value(number: float, within: float = EXACT) -> Law:
    return (lambda _: number), within


def law(formula: Callable[[World], float], within: float = EXACT) -> Law:
    return formula, within


ZERO, ONE, SURE = value(0), value(1), value(1 / (1 + DEALS))
"""SURE: no permutation of the null reaches the value."""
NULL = value(0.55, 0.49)
"""A p value that does not reject."""
OPEN = value(math.nan)
TOLD: Row = (ONE, NULL, SURE, SURE, OPEN)
TOLD_WHERE_DEFINED: Row = (None, NULL, SURE, SURE, OPEN)

LABEL_BITS = law(lambda w: entropy(w.labels))
ALONE: tuple[Callable[[World], Any], ...] = (
    lambda w: np.zeros(len(w)),
    lambda w: np.zeros(len(w)),
    lambda w: w.labels,
    lambda w: w.combinations,
    lambda w: w.combinations,
)
"""What each speaker's messages can tell of an image; chance is where that is nothing."""


def retrieval(formula: Callable[[Any], float], within: tuple[float, float] = (EXACT, 0.02)) -> Row:
    """The random speaker, whose symbols nobody foresees, by chance on average alone."""
    exact, sampled = within

    def of(told: Callable[[World], Any], tolerance: float) -> Law:
        return law(lambda w: formula(told(w)), tolerance)

    constant, random, leaking, compositional, holistic = ALONE
    return (
        of(constant, exact),
        of(random, sampled),
        of(leaking, exact),
        of(compositional, exact),
        of(holistic, exact),
    )
