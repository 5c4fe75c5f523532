"""Metrics of a language against emlangkit's: topographic similarity and disentanglement.

    python -m benchmarks.metrics [--quick]

1,000 messages of 49 symbols about four attributes, one thread. Both sides start from arrays and
give one number, which must be equal. emlangkit's bag disentanglement takes half a minute a call
at this size, so `--quick` compares it on 100 messages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from emlangkit.metrics.bosdis import compute_bosdis  # type: ignore[import-untyped]
from emlangkit.metrics.posdis import compute_posdis  # type: ignore[import-untyped]
from emlangkit.metrics.topsim import compute_topographic_similarity  # type: ignore[import-untyped]
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.interleaved import medians, verdict
from pg_platform.language.compositionality import bag_disentanglement, positional_disentanglement
from pg_platform.language.similarity import (
    edit_distances,
    hamming_distances,
    image_pairs,
    topographic_similarity,
)

MESSAGES, LENGTH, VOCABULARY, ATTRIBUTES, KINDS = 1000, 49, 128, 4, 5
REPEATS = 5

Array = NDArray[Any]


def main() -> None:
    """Print a line per metric and, last, the ratio of topographic similarity."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="disentanglement on fewer messages")
    quick = parser.parse_args().quick
    few = 100 if quick else MESSAGES
    print(f"{'metric':>7} {'messages':>8} {'theirs s':>9} {'ours s':>8} {'ratio':>7}  goal")
    with threadpool_limits(1):
        _row("posdis", few, compute_posdis, positional_disentanglement, ">= 20")
        _row("bosdis", few, compute_bosdis, bag_disentanglement, ">= 20")
        ratio = _row("topsim", MESSAGES, _their_topsim, _our_topsim, ">= 10")
    print(verdict("metrics", ratio, ">= 10"))


def _row(
    name: str,
    images: int,
    theirs: Callable[[Array, Array], float],
    ours: Callable[[Array, Array], float],
    goal: str,
) -> float:
    generator = np.random.default_rng(0)
    attributes = generator.integers(KINDS, size=(images, ATTRIBUTES))
    messages = generator.integers(VOCABULARY, size=(images, LENGTH))
    messages[:, :ATTRIBUTES] = attributes
    found, wanted = ours(messages, attributes), theirs(messages, attributes)
    assert abs(found - wanted) < 1e-6, f"{name}: {found} and emlangkit's {wanted}"
    seconds = medians(
        {
            "theirs": lambda: theirs(messages, attributes),
            "ours": lambda: ours(messages, attributes),
        },
        REPEATS,
    )
    ratio = seconds["theirs"] / seconds["ours"]
    print(
        f"{name:>7} {images:>8} {seconds['theirs']:>9.4f} {seconds['ours']:>8.4f} {ratio:>7.1f}"
        f"  {goal}",
        flush=True,
    )
    return ratio


def _their_topsim(messages: Array, attributes: Array) -> float:
    return float(compute_topographic_similarity(messages, attributes)[0])


def _our_topsim(messages: Array, attributes: Array) -> float:
    pairs = image_pairs(len(messages), 0, 0)
    return topographic_similarity(
        edit_distances(messages, pairs), hamming_distances(attributes, pairs)
    )


if __name__ == "__main__":
    main()
