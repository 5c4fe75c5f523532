"""Tables, lists and figures as parts of one HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

_BEFORE = re.compile(r".*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_ROOT = re.compile(r"<svg\b[^>]*>")
_SIZE = re.compile(r'\s(?:width|height)="[^"]*"')
_ID = re.compile(r'(\sid="|url\(#|href="#)')


def inline(svg: str, prefix: str, label: str) -> str:
    """The <svg> element alone, as an image named `label` that takes the width it is given.

    Every id and every reference to one gets `prefix`: ids of two figures do not collide.
    Raises ValueError where there is no <svg> element with a viewBox.
    """
    text = _METADATA.sub("", _BEFORE.sub("", svg, count=1))
    root = _ROOT.match(text)
    if root is None or "viewBox=" not in root[0]:
        raise ValueError(f"{label} wants an <svg> element with a viewBox, got {svg[:80]!r}")
    named = f' role="img" aria-label="{escape(label)}">'
    opened = _SIZE.sub("", root[0]).removesuffix(">") + named
    return _ID.sub(rf"\g<1>{prefix}-", opened + text[root.end() :]).strip()


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    label: str,
    bold: Iterable[int] = (),
) -> str:
    """A table in a box of its own that scrolls, by finger, wheel or keys; rows `bold` stand out."""
    best = set(bold)
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(_row(row, "best" if at in best else "plain") for at, row in enumerate(rows))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def bullets(sentences: Iterable[str], kind: str) -> str:
    """A list of the class `kind`; nothing where there are no sentences."""
    items = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">\n{items}\n</ul>' if items else ""


def _row(cells: Sequence[str], kind: str) -> str:
    return f'<tr class="{kind}">' + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>"
