"""Figs. 5 and 7: the patches that a symbol stands for, six of them for each of the most used.

Of the patches that are sent, those with the highest posterior of the symbol (softmax of
PatchSymbol's logits), at most one an image. Visual purity in numbers: the share of the variance of
the patches' pixels that lies between symbols, which is 0 where symbols say nothing about pixels and
cannot exceed 1, against the same with symbols permuted; and the mean distance between the patches
that are shown of one symbol over that between patches shown of different ones.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from pg_platform.config.section import Section
from pg_platform.config.seeds import stream
from pg_platform.data.image_set import subset
from pg_platform.data.images import open_images
from pg_platform.evaluation.messages import some
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained, plain_pass
from pg_platform.game.speaker import Pixels
from pg_platform.language.resampling import defined
from pg_platform.plots.images import shown
from pg_platform.plots.style import figure
from pg_platform.store.table import Table


class Options(Section):
    """`images` of the validation split are searched for `patches` of each of `symbols`."""

    images: PositiveInt = 1000
    symbols: PositiveInt = 16
    patches: PositiveInt = 6
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """The figure, the purity of symbols, and how often each shown symbol was sent."""
    pixels, symbol, posterior, image = _sent(trained, options)
    counts = symbol.bincount(minlength=trained.experiment.speaker.vocab_size)
    used = counts.argsort(descending=True, stable=True)[: options.symbols]
    used = used[counts[used] > 0]
    chosen = [_best(symbol == one, posterior, image, options.patches) for one in used.tolist()]
    flat = pixels.flatten(1)
    own = torch.Generator().manual_seed(stream(options.seed, "symbols"))
    permuted = symbol[torch.randperm(len(symbol), generator=own)]
    metrics = {
        "symbols/variance_between": variance_between(flat, symbol),
        "symbols/variance_between_permuted": variance_between(flat, permuted),
    }
    if len(used) > 1 and any(len(rows) > 1 for rows in chosen):
        metrics["symbols/distance_within_over_between"] = within_over_between(flat, chosen)
    side = trained.experiment.speaker.patch_size
    drawing = _drawing(pixels.view(-1, 3, side, side), used, chosen, counts, options.patches)
    table = Table(("symbol", "times_sent"), tuple((int(s), int(counts[s])) for s in used))
    metrics, undefined = defined(metrics)
    return EvaluationResult(
        metrics,
        tables={"symbols": table},
        figures={"symbols": drawing},
        words="\n".join(undefined),
    )


def variance_between(values: Tensor, group: Tensor) -> float:
    """The share of the variance of values (n, width) that lies between groups (n,)."""
    values = values.double() - values.double().mean(dim=0)
    sums = values.new_zeros(int(group.max()) + 1, values.shape[1]).index_add_(0, group, values)
    counts = group.bincount().clamp(min=1)[:, None]
    return float((sums**2 / counts).sum() / (values**2).sum())


def within_over_between(values: Tensor, groups: list[Tensor]) -> float:
    """Mean distance of two members of a group over that of members of different groups."""
    rows = torch.cat(groups)
    group = torch.repeat_interleave(torch.tensor([len(g) for g in groups]))
    distance = torch.cdist(values[rows].double(), values[rows].double())
    same = group[:, None] == group
    pairs = ~torch.eye(len(rows), dtype=torch.bool)
    return float(distance[same & pairs].mean() / distance[~same].mean())


@torch.no_grad()
def _sent(trained: Trained, options: Options) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each symbol that is sent: its patch's pixels, itself, its posterior, its image."""
    game, cut = trained.game, Pixels(trained.experiment.speaker.patch_size)
    everything = open_images(trained.experiment.data, "val")
    chosen = some(torch.arange(len(everything)), options.images, options.seed, "symbols")
    found, seen = [], 0
    for pixels, _ in plain_pass(trained, subset(everything, chosen), "symbols"):
        posterior, ids = game.speaker.symbol(pixels).softmax(dim=-1).max(dim=-1)
        gate = game.play((pixels, pixels)).gate[:, :, None].expand_as(ids)
        at = gate.nonzero()  # (sent symbols, 3): image, patch, slot
        found.append(
            (
                cut(pixels)[at[:, 0], at[:, 1]].cpu(),
                ids[gate].cpu(),
                posterior[gate].cpu(),
                seen + at[:, 0].cpu(),
            )
        )
        seen += len(pixels)
    pixels, symbol, posterior, image = (torch.cat(parts) for parts in zip(*found, strict=True))
    if not len(symbol):
        raise ValueError("the speaker sends no symbol about any image of the validation split")
    return pixels, symbol, posterior, image


def _best(those: Tensor, posterior: Tensor, image: Tensor, most: int) -> Tensor:
    """Rows of `those` (n,) with the highest posteriors, at most `most` and one an image."""
    rows = those.nonzero()[:, 0]
    rows = rows[posterior[rows].argsort(descending=True, stable=True)]
    best: dict[int, int] = {}
    for row, one in zip(rows.tolist(), image[rows].tolist(), strict=True):
        best.setdefault(one, row)
        if len(best) == most:
            break
    return torch.tensor(list(best.values()))


def _drawing(
    patches: Tensor, used: Tensor, chosen: list[Tensor], counts: Tensor, most: int
) -> Figure:
    """A column of patches per symbol, headed by its number and how often it was sent."""
    with figure((0.8 * len(used) + 0.4, 0.75 * most + 0.8)) as drawing:
        cells = drawing.subplots(most, len(used), squeeze=False)
        for axes in cells.flat:
            axes.set_axis_off()
        for column, (one, rows) in enumerate(zip(used.tolist(), chosen, strict=True)):
            cells[0, column].set_title(f"{one}\n{int(counts[one]):,}x", fontsize=9)
            for axes, colours in zip(cells[:, column], shown(patches[rows]), strict=False):
                axes.imshow(colours.numpy(), interpolation="nearest")
        drawing.suptitle("symbol, and how often it was sent", fontsize=10)
    return drawing
