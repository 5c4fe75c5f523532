"""A table as a LaTeX tabular with the rules of booktabs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after a line's end a bracket would be taken for an option of it
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)
_DIGITS = 3
_MOST_DECIMALS = 6


class Below(float):
    """A number of which a table tells no more than that it is less than this."""

    def __str__(self) -> str:
        return f"< {self:g}"


def tabular(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A booktabs tabular: numbers to the right, their points below each other, texts to the left.

    The fractions of a column have as many decimals as its smallest one needs for three digits,
    at most six; a column that would lose digits so is written with powers of ten.
    """
    cells = [_column([row[index] for row in rows]) for index in range(len(columns))]
    sides = "".join("r" if _numeric([row[i] for row in rows]) else "l" for i in range(len(columns)))
    lines = [" & ".join(line) + r" \\" for line in zip(*cells, strict=True)]
    head = " & ".join(map(escaped, columns)) + r" \\"
    start, end = rf"\begin{{tabular}}{{{sides}}}", r"\end{tabular}"
    return "\n".join([start, r"\toprule", head, r"\midrule", *lines, r"\bottomrule", end])


def escaped(text: str) -> str:
    """The text as LaTeX prints it."""
    return text.translate(_ESCAPES)


def _numeric(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known
    )


def _column(values: Sequence[Any]) -> list[str]:
    exact = [v for v in values if isinstance(v, float) and not isinstance(v, Below)]
    decimals = _decimals([abs(value) for value in exact if math.isfinite(value)])
    return [_cell(value, decimals) for value in values]


def _decimals(sizes: Sequence[float]) -> int | None:
    """How many decimals a column wants; None where no such number serves all its values."""
    smallest = min((size for size in sizes if size), default=1.0)
    wanted = max(0, _DIGITS - 1 - math.floor(math.log10(smallest)))
    fits = wanted <= _MOST_DECIMALS and max(sizes, default=0.0) < 10**_MOST_DECIMALS
    return wanted if fits else None


def _cell(value: Any, decimals: int | None) -> str:
    match value:
        case None:
            return ""
        case Below():
            return f"$<{value:g}$"
        case float() if not math.isfinite(value):
            return escaped(str(value))
        case float() if decimals is not None:
            return f"${value:.{decimals}f}$"
        case float():
            mantissa, _, exponent = f"{value:.{_DIGITS - 1}e}".partition("e")
            return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
        case int() if not isinstance(value, bool):
            return f"${value}$"
    return escaped(str(value))
