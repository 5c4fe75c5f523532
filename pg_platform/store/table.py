"""Tables as they are stored: JSON, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


SMALLEST_TOLD = 0.001


P = "p"
"""The column of p values, in any table."""


@dataclass(frozen=True)
class Table:
    """Named columns and rows of plain values, at full precision in `json` and `csv`.

    `notes` are what a reader has to know first; the forms that people read open with them.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    def json(self) -> str:
        """MLflow's form of a table; what is not a finite number or a text is null."""
        data = [[_jsonable(value) for value in row] for row in self.rows]
        return json.dumps({"columns": self.columns, "data": data}, allow_nan=False)

    def csv(self) -> str:
        """Comma-separated values with a header; None is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return text.getvalue()

    def printed(self) -> list[list[str]]:
        """The rows as a person reads them: four significant digits, None empty, no p of 0."""
        return [[_printed(value) for value in row] for row in self._readable()]

    def markdown(self, padding: str = "") -> str:
        """A Markdown table of the printed rows, with `padding` on both sides of each cell."""
        rule = "| " + " | ".join("---" for _ in self.columns) + " |"
        head, *rows = (_markdown_row(row, padding) for row in [self.columns, *self.printed()])
        return "\n".join([*(f"{note}\n" for note in self.notes), head, rule, *rows])

    def latex(self) -> str:
        """A LaTeX tabular; it wants the package booktabs."""
        notes = [f"% {note}" for note in self.notes]
        return "\n".join([*notes, tabular(self.columns, self._readable())])

    def _readable(self) -> list[list[Any]]:
        """The rows; a very small p only as what it is below."""
        return [
            [
                Below(SMALLEST_TOLD)
                if name == P and value is not None and value < SMALLEST_TOLD
                else value
                for name, value in zip(self.columns, row, strict=True)
            ]
            for row in self.rows
        ]


def _markdown_row(cells: Iterable[str], padding: str) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(f"{padding}{cell}{padding}" for cell in escaped) + " |"


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def _printed(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Below):
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
