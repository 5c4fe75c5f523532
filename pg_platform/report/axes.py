"""Where the values of a parameter stand on an axis."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, NullLocator

from pg_platform.sweep.trials import compact

_MOST_TICKS = 10
_LONGEST = 24
_LINE = 50
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")


def is_number(value: Any) -> bool:
    """Whether it has a size: True and False have none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_order(values: Iterable[Any]) -> list[Any]:
    """Distinct values: numbers by size, others as they come."""
    distinct = list({compact(value): value for value in values}.values())
    return sorted(distinct) if all(map(is_number, distinct)) else distinct


def is_log(key: str, values: Sequence[Any], *, log: bool) -> bool:
    """Whether their axis is logarithmic: asked for, or all above 0 and 10 times apart.

    Raises ValueError where it is asked for and some value is not a number above 0.
    """
    positive = all(is_number(value) and value > 0 for value in values)
    if log and not positive:
        raise ValueError(f"{key} on a logarithmic axis wants numbers above 0, got {list(values)}")
    return bool(values) and positive and (log or max(values) >= 10 * min(values))


def places(values: Sequence[Any]) -> dict[str, float]:
    """Places of distinct values, by their text: numbers at themselves, others at 0, 1, 2, ..."""
    numbers = all(map(is_number, values))
    return {compact(v): float(v if numbers else at) for at, v in enumerate(values)}


def heights(values: Sequence[Any]) -> dict[str, float]:
    """Places between 0 and 1, numbers above 0 that are 10 times apart by their logarithm."""
    distinct = in_order(values)
    at = places(distinct)
    if is_log("", distinct, log=False):
        at = {text: math.log(place) for text, place in at.items()}
    low, high = min(at.values(), default=0.0), max(at.values(), default=0.0)
    return {text: (p - low) / (high - low) if high > low else 0.5 for text, p in at.items()}


def short(text: str) -> str:
    """A number's text at three digits, any other as it is; long ones lose their end."""
    if _NUMBER.fullmatch(text) and not text.isdigit():
        return f"{float(text):.3g}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def mark(axes: Axes, at: Mapping[str, float], *, log: bool) -> None:
    """Ticks of the x axis at the values themselves; round ones where there are more than ten."""
    if log:
        axes.set_xscale("log")
    if len(at) > _MOST_TICKS and all(_NUMBER.fullmatch(text) for text in at):
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        return
    axes.xaxis.set_minor_locator(NullLocator())
    texts = list(at)
    axes.set_xticks([at[text] for text in texts], [short(text) for text in texts])
    crowded = not log and _crowded([at[text] for text in texts])
    if crowded or sum(len(short(text)) for text in texts) > _LINE:
        axes.tick_params(axis="x", labelrotation=40)


def _crowded(ticks: Sequence[float]) -> bool:
    """Whether two neighbours are nearer than a twentieth of the axis."""
    gaps = [after - before for before, after in pairwise(ticks)]
    return bool(gaps) and min(gaps) < (ticks[-1] - ticks[0]) / 20
