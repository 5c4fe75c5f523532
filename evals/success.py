"""Fig. 6: success of the game, as recall and reciprocal rank in galleries of several sizes.

A message looks for its image among `gallery` images, and an image for its message. Each number is
the exact mean over all galleries that can be drawn from the split, ties broken by chance; chance
is k / gallery. The agents see two different views, as in validation, unless `views` is plain.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from pg_platform.config.section import Section
from pg_platform.data.images import Split
from pg_platform.evaluation.message_bank import BankOptions, open_bank
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.language.corpus import chosen_rows
from pg_platform.language.resampling import bootstrap_means, with_interval
from pg_platform.language.retrieval import recall, reciprocal_rank, standings
from pg_platform.store.table import Table

RANKS = (1, 5, 10)
DIRECTIONS = ("", "reverse_")
"""A message looks for its image; an image looks for its message."""


class Options(Section):
    """`galleries` larger than the split are left out, and the words say so."""

    split: Split = "val"
    views: Literal["plain", "validation"] = "validation"
    images: Annotated[int, Field(ge=2)] = 50_000
    galleries: tuple[Annotated[int, Field(ge=2)], ...] = (16, 64, 256, 1024, 4096, 10_000)
    resamples: PositiveInt = 200
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Recall at 1, 5, 10 and mean reciprocal rank, with 95 % intervals over who looks.

    Raises ValueError where no gallery fits into the split.
    """
    bank = open_bank(trained, options.split, BankOptions(views=options.views))
    rows = chosen_rows(bank, options.images, options.seed, labelled=False)
    fitting = [gallery for gallery in options.galleries if gallery <= len(rows)]
    if not fitting:
        raise ValueError(
            f"galleries: the smallest is {min(options.galleries, default=0)} and there are "
            f"{len(rows)} images; try --set galleries=[{len(rows)}]"
        )
    standing = np.stack(standings(bank.text[rows], bank.image[rows]), axis=1)
    metrics: dict[str, float] = {}
    for direction, (better, equal) in zip(DIRECTIONS, standing, strict=True):
        named = {
            f"success/{direction}{name}": credit
            for gallery in fitting
            for name, credit in (
                *(
                    (f"r{k}_g{gallery}", recall(better, equal, k=k, gallery=gallery))
                    for k in RANKS
                    if k < gallery
                ),
                (f"mrr_g{gallery}", reciprocal_rank(better, equal, gallery=gallery)),
            )
        }
        credits = np.stack(list(named.values()), axis=1)
        limits = bootstrap_means(credits, options.resamples, options.seed)
        for column, name in enumerate(named):
            metrics |= with_interval(name, float(credits[:, column].mean()), limits[:, column])
    left_out = [str(gallery) for gallery in options.galleries if gallery not in fitting]
    return EvaluationResult(
        metrics,
        tables={"success": _table(metrics, fitting)},
        words=f"Of {len(rows)} images no gallery has {', '.join(left_out)}." if left_out else "",
    )


def _table(metrics: dict[str, float], galleries: list[int]) -> Table:
    rows = []
    for direction in DIRECTIONS:
        for gallery in galleries:
            for what in (*(f"r{k}" for k in RANKS if k < gallery), "mrr"):
                name = f"success/{direction}{what}_g{gallery}"
                chance = int(what[1:]) / gallery if what != "mrr" else _harmonic_mean_rank(gallery)
                values = (metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"])
                rows.append((f"{direction}{what}", gallery, *values, chance))
    return Table(("metric", "gallery", "value", "low", "high", "chance"), tuple(rows))


def _harmonic_mean_rank(gallery: int) -> float:
    """Mean of 1 / rank of a rank that is uniform."""
    return float((1 / np.arange(1, gallery + 1)).mean())
