"""How far long work has come: a bar in the terminal, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from pg_platform.data.images import Images
from pg_platform.data.loaders import EVALUATION_BATCH, plain_batches
from pg_platform.progress import tracked
from pg_platform.results.trained import Trained


def plain_pass(trained: Trained, images: Images, what: str) -> Iterator[tuple[Tensor, Tensor]]:
    """All images once in the plain view, as `plain_batches` gives them, with a bar."""
    batches = plain_batches(images, trained.experiment, trained.device)
    return tracked(batches, what, batches_of(len(images)))


def batches_of(images: int) -> int:
    """How many batches of an evaluation so many images are."""
    return -(-images // EVALUATION_BATCH)
