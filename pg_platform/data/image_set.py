"""One split of a set of images."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

BROKEN_SHARE = 0.01
"""A run stops when more than this share of a split cannot be decoded."""


NAMED = 10
"""So many broken images are named in an error; the rest are counted."""


class Encoded(Protocol):
    """Images that lie in files, by their position in the split."""

    @property
    def processes(self) -> int:
        """How many processes decode them; 0: the process that asks."""

    def image(self, position: int) -> Tensor:
        """(3, h, w) uint8; raises OSError, RuntimeError or ValueError where it cannot be had."""

    def name(self, position: int) -> str:
        """Where the image lies, for a person who must mend it."""


@dataclass
class Images:
    """One split: pixels, or where to read them, and what is known about each image.

    `pixels` is (n, 3, h, w) uint8 where all images are in memory. `labels` is (n,) int64, -1
    where an image has none; `attributes` are further labels, (n,) int64 each. `ids` are the
    texts whose hash decides the split.
    """

    classes: tuple[str, ...]
    labels: Tensor
    ids: Sequence[str]
    pixels: Tensor | Encoded
    attributes: dict[str, Tensor] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def broken_allowed(self) -> int:
        """How many broken images a run survives: 1 % of the split, or one where that is less."""
        return min(max(1, int(BROKEN_SHARE * len(self))), len(self) - 1)

    def report_broken(self, found: Iterable[tuple[int, str]]) -> None:
        """Count images that could not be decoded: (position, what is wrong and where).

        Each is warned of once. Raises ValueError when there are more than `broken_allowed`.
        """
        for position, reason in found:
            if position not in self.broken:
                self.broken[position] = reason
                warnings.warn(
                    f"broken image {reason}; the next one of the split stands in for it",
                    stacklevel=2,
                )
        if len(self.broken) > self.broken_allowed:
            names = sorted(self.broken.values())
            more = f"; and {len(names) - NAMED} more" if len(names) > NAMED else ""
            raise ValueError(
                f"{len(names)} of {len(self)} images cannot be decoded, and at most "
                f"{self.broken_allowed} may be ({BROKEN_SHARE:.0%}): "
                f"{'; '.join(names[:NAMED])}{more}; mend or remove them"
            )


def subset(images: Images, positions: Tensor) -> Images:
    """The images at `positions` (n,), in that order, read from where they lie."""
    rows = positions.tolist()
    pixels = images.pixels
    return Images(
        classes=images.classes,
        labels=images.labels[positions],
        ids=[images.ids[row] for row in rows],
        pixels=pixels[positions.to(pixels.device)]
        if isinstance(pixels, Tensor)
        else _Chosen(pixels, rows),
    )


@dataclass(frozen=True)
class _Chosen:
    """Some of the images that lie in files."""

    all: Encoded
    rows: list[int]

    @property
    def processes(self) -> int:
        return self.all.processes

    def image(self, position: int) -> Tensor:
        return self.all.image(self.rows[position])

    def name(self, position: int) -> str:
        return self.all.name(self.rows[position])
