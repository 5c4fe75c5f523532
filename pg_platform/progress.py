"""A bar of progress on a terminal, where one is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def tracked(items: Iterable[_Item], what: str, count: int | None = None) -> Iterator[_Item]:
    """The same items, with a bar on stderr that says `what`; `count` where `items` has no len."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, what, total=count, console=Console(stderr=True), transient=True)
