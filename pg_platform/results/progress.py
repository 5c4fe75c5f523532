"""How far long work has come: a bar in the terminal, and nothing where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch import Tensor

from pg_platform.data.images import Images
from pg_platform.data.loaders import EVALUATION_BATCH, plain_batches
from pg_platform.results.trained import Trained

_Item = TypeVar("_Item")


def tracked(items: Iterable[_Item], what: str, count: int | None = None) -> Iterator[_Item]:
    """The same items, with a bar on stderr that says `what`; `count` where `items` has no len."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, what, total=count, console=Console(stderr=True), transient=True)


def plain_pass(trained: Trained, images: Images, what: str) -> Iterator[tuple[Tensor, Tensor]]:
    """All images once in the plain view, as `plain_batches` gives them, with a bar."""
    batches = plain_batches(images, trained.experiment, trained.device)
    return tracked(batches, what, batches_of(len(images)))


def batches_of(images: int) -> int:
    """How many batches of an evaluation so many images are."""
    return -(-images // EVALUATION_BATCH)
