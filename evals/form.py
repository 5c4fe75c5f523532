"""Fig. 9, 10, 12: how long messages are, how many symbols they use, how often each is sent.

Messages are decided, in the plain view, of at most `images` images of the split. With them go
what the form of a language is told by: entropy, Zipf's exponent, compressibility against shuffled
symbols, and the share of images whose message another image has too. Gates that send rank r of K
with probability r / K have (K + 1) / 2 patches on average, with a variance of the sum of p (1 - p),
whatever the language is: `length_null_...` gives both, in symbols.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from pg_platform.config.section import Section
from pg_platform.data.images import Images, Split, open_images
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.language.corpus import Bank, Floats, bags, chosen_rows, messages_of
from pg_platform.language.information import entropy_of
from pg_platform.language.resampling import COVERED, bootstrap_means, defined, with_interval
from pg_platform.language.usage import (
    collisions,
    compressibility,
    distinct_symbols,
    length_null,
    lengths,
    symbol_counts,
    zipf_exponent,
)
from pg_platform.plots.style import COLOURS, figure
from pg_platform.store.table import Table


class Options(Section):
    """`resamples` of the images give the intervals; `extremes` images are shown at either end."""

    split: Split = "val"
    images: PositiveInt = 50_000
    resamples: PositiveInt = 200
    extremes: PositiveInt = 6
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Numbers with 95 % intervals over images, the three figures and the tables behind them."""
    bank = open_bank(trained, options.split)
    rows = chosen_rows(bank, options.images, options.seed, labelled=False)
    messages = messages_of(bank, rows)
    counts = symbol_counts(messages, bank.vocabulary)
    size, different = lengths(messages), distinct_symbols(messages)
    metrics, undefined = defined(_metrics(messages, counts, bank, options))
    order = np.lexsort((different, size))
    ends = np.concatenate((order[: options.extremes], order[-options.extremes :]))
    images = open_images(trained.experiment.data, options.split)
    return EvaluationResult(
        metrics,
        tables={
            "symbols": Table(("symbol", "sent"), tuple(enumerate(counts.tolist()))),
            "lengths": _histogram("symbols", size),
            "distinct": _histogram("distinct symbols", different),
            "extremes": Table(
                ("image", "symbols", "distinct symbols"),
                tuple((bank.ids[rows[i]].decode(), int(size[i]), int(different[i])) for i in ends),
            ),
        },
        figures={
            "fig9_lengths": _lengths(size, different, *bank.symbols.shape[1:]),
            "fig10_extremes": _extremes(
                images,
                bank.positions[rows[ends]],
                [f"{size[i]} ({different[i]})" for i in ends],
            ),
            "fig12_symbols": _frequencies(counts),
        },
        words="\n".join(undefined),
    )


def _metrics(
    messages: NDArray[Any], counts: NDArray[Any], bank: Bank, options: Options
) -> dict[str, float]:
    patches, each = bank.symbols.shape[1:]
    per_image = np.stack((lengths(messages), distinct_symbols(messages)), axis=1).astype(float)
    means = per_image.mean(axis=0)
    limits = bootstrap_means(per_image, options.resamples, options.seed)
    null = length_null(patches)
    entropy = float(entropy_of(counts))
    return {
        **with_interval(
            "form/entropy_bits",
            entropy,
            _entropy_limits(messages, entropy, bank.vocabulary, options),
        ),
        "form/active_symbols": float((counts > 0).sum()),
        "form/zipf_exponent": zipf_exponent(counts),
        "form/compressibility": compressibility(messages, options.seed),
        "form/collisions": collisions(messages),
        **with_interval("form/length", float(means[0]), limits[:, 0]),
        "form/length_variance": float(per_image[:, 0].var()),
        "form/length_null_mean": null.mean * each,
        "form/length_null_variance": null.variance * each**2,
        **with_interval("form/distinct_symbols", float(means[1]), limits[:, 1]),
    }


def _entropy_limits(
    messages: NDArray[Any], entropy: float, vocabulary: int, options: Options
) -> Floats:
    """Of the language's entropy, by the basic bootstrap (Davison & Hinkley 1997, eq. 5.6).

    A resample has less entropy than the sample, as that has less than the language: percentiles
    would lie below both. They are within 0 and log2(vocabulary), and include the sample's own.
    """
    generator, n = np.random.default_rng(options.seed), len(messages)
    said = bags(messages).T.tocsr()
    drawn = [
        float(entropy_of(said @ np.bincount(generator.integers(n, size=n), minlength=n)))
        for _ in range(options.resamples)
    ]
    least, most = 2 * entropy - np.percentile(drawn, COVERED)[::-1]
    return np.array((min(entropy, max(0.0, least)), min(np.log2(vocabulary), most)))


def _histogram(name: str, values: NDArray[Any]) -> Table:
    found, images = np.unique(values, return_counts=True)
    return Table((name, "images"), tuple(zip(found.tolist(), images.tolist(), strict=True)))


def _lengths(size: NDArray[Any], different: NDArray[Any], patches: int, each: int) -> Figure:
    """How many images have messages so long; of lengths also what ranks alone would give."""
    with figure((7.5, 3.0)) as drawing:
        for axes, values, name in zip(
            drawing.subplots(1, 2),
            (different, size),
            ("distinct symbols in a message", "symbols in a message"),
            strict=True,
        ):
            found, images = np.unique(values, return_counts=True)
            axes.bar(found, images, width=0.9, color=COLOURS[0])
            mean = float(values.mean())
            axes.axvline(mean, color=COLOURS[1], linestyle="--", label=f"mean {mean:.1f}")
            axes.set_xlabel(name)
        null = length_null(patches).mean * each
        axes.axvline(null, color="0.3", linestyle=":", label=f"of ranks alone {null:.1f}")
        for axes in drawing.axes:
            axes.set_ylabel("images")
            axes.legend(loc="best", fontsize=9)
    return drawing


def _frequencies(counts: NDArray[Any]) -> Figure:
    """Every symbol of the vocabulary in its own order, and by falling frequency."""
    with figure((9.0, 3.0)) as drawing:
        by_number, by_rank = drawing.subplots(1, 2)
        by_number.bar(np.arange(len(counts)), counts, width=1, color=COLOURS[0])
        by_number.set_xlabel("symbol")
        by_number.set_ylabel("times sent")
        used = np.sort(counts[counts > 0])[::-1]
        by_rank.loglog(np.arange(1, len(used) + 1), used, color=COLOURS[0], marker="o")
        by_rank.set_xlabel(f"rank of the symbol; {len(used)} of {len(counts)} are used")
        by_rank.set_ylabel("times sent")
        for axis in (by_rank.xaxis, by_rank.yaxis):  # powers of ten are formulas by default
            axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    return drawing


def _extremes(images: Images, positions: NDArray[Any], told: list[str]) -> Figure:
    """Above the shortest messages, below the longest; of equal length those of fewest symbols."""
    half = (len(positions) + 1) // 2
    with figure((1.4 * half + 0.4, 3.8)) as drawing:
        cells = drawing.subplots(2, half, squeeze=False)
        for panel, position, text in zip(cells.flat, positions, told, strict=False):
            panel.imshow(_shown(images, int(position)), cmap="gray")
            panel.set_title(text, fontsize=8)
        for axes in cells.flat:
            axes.set_axis_off()
        drawing.suptitle("shortest messages above, longest below", fontsize=10)
        drawing.supxlabel("symbols sent (distinct ones)", fontsize=9)
    return drawing


def _shown(images: Images, position: int) -> NDArray[Any]:
    source = images.pixels
    pixels = source[position] if isinstance(source, Tensor) else source.image(position)
    return np.asarray(pixels.permute(1, 2, 0).cpu())
