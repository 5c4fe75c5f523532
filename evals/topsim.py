"""Fig. 8: topographic similarity, Spearman's correlation of message and image distances.

Messages differ by edit distance, by the Jaccard distance of their symbol sets and by positions;
images by pixels (Euclidean, reduced to 32 pixels a side), the listener's features (cosine), class,
and attributes where there are any. Up to 1,000 images all pairs are taken; of more, `pairs` pairs,
which err by at most 2 / sqrt(pairs) in 95 of 100 cases. The null deals the messages to the images
anew, with 1,000 of the images (Mantel's test); intervals draw the images again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt
from torch.nn.functional import adaptive_avg_pool2d

from pg_platform.config.section import Section
from pg_platform.data.images import Split, open_images
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained, plain_pass
from pg_platform.language.corpus import Bank, Floats, attributes_of, chosen_rows, messages_of
from pg_platform.language.resampling import COVERED, defined, with_interval, with_null
from pg_platform.language.similarity import (
    MOST_COMPLETE,
    Pairs,
    cosine_distances,
    edit_distances,
    euclidean_distances,
    hamming_distances,
    image_pairs,
    jaccard_distances,
    standard_ranks,
)
from pg_platform.progress import tracked
from pg_platform.store.table import Table

PIXELS = 32
_FEWEST = 3
_LEAST_VARIANCE = 1e-12
"""Of that of all pairs, below which a resample's distances do not vary but for rounding."""
_MESSAGES = {
    "edit": edit_distances,
    "jaccard": jaccard_distances,
    "position": hamming_distances,
}


class Options(Section):
    """At most `images` images of the split, in the plain view."""

    split: Split = "val"
    images: Annotated[int, Field(ge=_FEWEST)] = 1000
    pairs: PositiveInt = 500_000
    permutations: PositiveInt = 100
    resamples: PositiveInt = 100
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """`topsim/edit_feature` and so on, each with interval and null.

    Raises ValueError where the split has fewer than three images.
    """
    bank = open_bank(trained, options.split)
    rows = chosen_rows(bank, options.images, options.seed, labelled=False)
    if len(rows) < _FEWEST:
        raise ValueError(
            f"data: the {options.split} split has {len(rows)} images and topsim correlates the "
            f"pairs of {_FEWEST} or more; take a run with more images there"
        )
    pixels = _pixels(trained, options.split, rows)
    pairs = image_pairs(len(rows), options.pairs, options.seed)
    said, seen = _ranks(bank, rows, pixels, pairs)
    limits = _limits(said, seen, pairs, options)
    if len(rows) > MOST_COMPLETE:
        drawn = np.random.default_rng(options.seed).permutation(len(rows))[:MOST_COMPLETE]
        rows, pixels = rows[drawn], pixels[drawn]
        complete = image_pairs(MOST_COMPLETE, 0, options.seed)
        null, reached = _null(*_ranks(bank, rows, pixels, complete), len(rows), options)
    else:
        null, reached = _null(said, seen, len(rows), options)
    found: dict[str, float] = {}
    for i, one in enumerate(said):
        for j, other in enumerate(seen):
            name, value = f"topsim/{one}_{other}", float(said[one] @ seen[other])
            found |= with_interval(name, value, limits[:, i, j])
            # the null of some images is compared with their own value
            found |= with_null(name, float(reached[i, j]), null[:, i, j]) | {name: value}
    metrics, words = defined(found)
    return EvaluationResult(metrics, tables={"topsim": _table(metrics)}, words="\n".join(words))


def _ranks(
    bank: Bank, rows: NDArray[np.int64], pixels: NDArray[Any], pairs: Pairs
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Standard ranks of the pairs by each distance of messages, and of images."""
    messages, attributes = messages_of(bank, rows), attributes_of(bank, rows)
    said = {name: standard_ranks(distance(messages, pairs)) for name, distance in _MESSAGES.items()}
    distances = {
        "pixel": euclidean_distances(pixels, pairs),
        "feature": cosine_distances(bank.features[rows], pairs),
    }
    if (bank.labels[rows] >= 0).all():
        distances["label"] = hamming_distances(bank.labels[rows][:, None], pairs)
    if attributes is not None:
        distances["attribute"] = hamming_distances(attributes, pairs)
    return said, {name: standard_ranks(values) for name, values in distances.items()}


def _limits(
    said: Mapping[str, Floats], seen: Mapping[str, Floats], pairs: Pairs, options: Options
) -> Floats:
    """(2, messages, images): a pair counts as often as both its images were drawn, multiplied."""
    generator, n = np.random.default_rng(options.seed), int(pairs[1].max()) + 1
    ranks = np.stack([*said.values(), *seen.values()])  # (distances, pairs)
    drawn = []
    for _ in tracked(range(options.resamples), "resamples"):
        counts = _drawn_again(n, generator)
        weights = counts[pairs[0]] * counts[pairs[1]] / 1.0
        weights /= weights.sum()
        means = ranks @ weights
        moments = (ranks * weights) @ ranks.T - np.outer(means, means)
        variance = np.diagonal(moments).copy()
        variance[variance <= _LEAST_VARIANCE / len(weights)] = np.nan  # all drawn pairs are equal
        scale = np.sqrt(variance)
        drawn.append((moments / np.outer(scale, scale))[: len(said), len(said) :])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice", category=RuntimeWarning)
        return np.asarray(np.nanpercentile(np.stack(drawn), COVERED, axis=0).clip(-1, 1))


def _drawn_again(n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """How often each of n images is drawn in a resample; one alone has no pair."""
    while True:
        counts = np.bincount(generator.integers(n, size=n), minlength=n)
        if (counts > 0).sum() > 1:
            return counts


def _null(
    said: Mapping[str, Floats], seen: Mapping[str, Floats], images: int, options: Options
) -> tuple[Floats, Floats]:
    """(permutations, messages, images) correlations, and (messages, images) of the true order."""
    generator = np.random.default_rng(options.seed)
    messages, meant = np.stack(list(said.values())), np.stack(list(seen.values())).T
    one, other = np.triu_indices(images, 1)
    values = []
    for _ in tracked(range(options.permutations), "permutations"):
        dealt = generator.permutation(images)
        low, high = np.minimum(dealt[one], dealt[other]), np.maximum(dealt[one], dealt[other])
        place = low * (2 * images - low - 1) // 2 + high - low - 1  # of a pair in scipy's order
        values.append(messages[:, place] @ meant)
    return np.stack(values), messages @ meant


def _pixels(trained: Trained, split: Split, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(rows, width) pixels of the plain view, reduced; read up to the last row that is wanted."""
    images = open_images(trained.experiment.data, split)
    kept, start = [], 0
    for pixels, _ in plain_pass(trained, images, "pixels"):
        wanted = rows[(rows >= start) & (rows < start + len(pixels))] - start
        side = min(PIXELS, pixels.shape[-1])
        kept.append(adaptive_avg_pool2d(pixels[wanted.tolist()].float(), side).flatten(1).cpu())
        start += len(pixels)
        if start > rows[-1]:
            break
    return np.concatenate([part.numpy() for part in kept])


def _table(metrics: Mapping[str, float]) -> Table:
    endings = ("", "_low", "_high", "_null_mean", "_null_p")
    names = [name for name in metrics if not name.endswith(endings[1:])]
    rows = tuple(
        (
            *name.removeprefix("topsim/").split("_"),
            *(metrics.get(name + ending) for ending in endings),
        )
        for name in names
    )
    return Table(("messages", "images", "rho", "low", "high", "null_mean", "null_p"), rows)
