"""Fig. 4: a vision transformer that is given only the k patches that PatchRank finds important.

Top-1 against k, with the ranks of the trained speaker and of the same speaker before training
(epoch 0: the weights that its seed gives), beside patches by chance, from the middle outwards, and
by the attention of the ViT's own <CLS> in its last block, which has seen all patches. Where the
ViT's grid differs from the speaker's, ranks are averaged over the area of each ViT patch. The area
under a curve is over the share of patches that is kept, divided by the width of that range.

Give `weights` of a timm ViT for the paper's protocol. Without them a small ViT is trained on the
labels of the data's own training split, and its numbers are no one else's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import timm
import torch
from matplotlib.figure import Figure
from pydantic import NonNegativeInt, PositiveInt
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from pg_platform.config.experiment import Experiment
from pg_platform.config.section import Section
from pg_platform.config.seeds import stream
from pg_platform.data.image_set import subset
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.data.views import MEAN, STD
from pg_platform.evaluation.messages import from_middle, labelled, play_images, resampled, some
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained, batches_of
from pg_platform.methods import build
from pg_platform.plots.style import figure, looks
from pg_platform.probes.pretrained import (
    Weights,
    check_classes,
    load_given,
    train_small_vit,
    weights_said,
)
from pg_platform.progress import tracked
from pg_platform.store.table import Table

Scores = dict[str, Tensor]
"""Of each way to choose patches, how early each is kept: (images, patches of the ViT)."""


class Options(Section):
    """The ViT, and `points` values of k for `images` labelled images of the validation split.

    `width`, `depth` and `steps` are those of the small ViT, which is trained without `weights`.
    `class_index` is the network's number of each class of the data, where it is not the same.
    """

    weights: Weights | None = None
    model: str = "vit_base_patch32_384"
    class_index: tuple[NonNegativeInt, ...] = ()
    images: PositiveInt = 2000
    points: PositiveInt = 8
    random_seeds: PositiveInt = 3
    width: PositiveInt = 64
    depth: PositiveInt = 3
    steps: PositiveInt = 200
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Curves and areas. Raises ValueError where nothing is ranked or labelled."""
    everything = open_images(trained.experiment.data, "val")
    chosen = some(labelled(everything, "patch_subset"), options.images, options.seed, "subset")
    images = subset(everything, chosen)
    vit, target = _vit(trained, options, len(images.classes))
    side: int = vit.patch_embed.grid_size[0]
    kept = sorted(
        {max(1, round(side**2 * i / options.points)) for i in range(1, options.points + 1)}
    )
    scores = _scores(trained, images, side, options)
    curves = _curves(
        vit, _pixels(vit, images, trained, options), (images.labels, target), scores, kept
    )
    averaged = _averaged(curves, options.random_seeds)
    own = "" if options.weights else "small_vit_"
    areas = {
        f"{own}area_{name}_n{len(images)}": area(kept, top1) for name, top1 in averaged.items()
    }
    rows = tuple((k, *(top1[i] for top1 in averaged.values())) for i, k in enumerate(kept))
    return EvaluationResult(
        {
            **{f"patch_subset/{name}": value for name, value in areas.items()},
            f"patch_subset/{own}top1_all_patches_n{len(images)}": averaged["rank"][-1],
        },
        tables={"fig4": Table(("k", *averaged), rows)},
        figures={"fig4": _drawing(kept, curves, averaged, options)},
        words=_words(averaged, kept, options, vit),
    )


def keep(vit: VisionTransformer, pixels: Tensor, kept: Tensor) -> Tensor:
    """Logits (batch, classes) of a timm ViT that sees the patches `kept` (batch, k), in any order.

    With all patches, they are exactly `vit(pixels)`.
    """
    tokens: Tensor = vit._pos_embed(vit.patch_embed(pixels))  # (batch, prefix + patches, width)
    return _rest(vit, tokens, kept)


def _rest(vit: VisionTransformer, tokens: Tensor, kept: Tensor) -> Tensor:
    prefix = vit.num_prefix_tokens
    places = (prefix + kept.sort(dim=1).values)[:, :, None].expand(-1, -1, tokens.shape[2])
    some_tokens = torch.cat((tokens[:, :prefix], tokens.gather(1, places)), dim=1)
    logits: Tensor = vit.forward_head(vit.norm(vit.blocks(vit.norm_pre(some_tokens))))
    return logits


def cls_attention(vit: VisionTransformer, pixels: Tensor) -> Tensor:
    """How much <CLS> attends to each patch in the last block, mean over heads, (batch, patches)."""
    if vit.cls_token is None:
        raise ValueError("model: the ViT has no <CLS> whose attention could be measured")
    last: Any = vit.blocks[-1]
    attention, seen = last.attn, []
    fused, attention.fused_attn = attention.fused_attn, False
    hook = attention.attn_drop.register_forward_hook(lambda _, __, found: seen.append(found))
    vit(pixels)
    hook.remove()
    attention.fused_attn = fused
    weights: Tensor = seen[0]  # (batch, heads, tokens, tokens)
    return weights[:, :, 0, vit.num_prefix_tokens :].mean(dim=1)


def area(kept: list[int], top1: list[float]) -> float:
    """Under top-1 over k, by trapezoids, divided by the range of k; one k is its own area."""
    if len(kept) == 1:
        return top1[0]
    x, y = torch.tensor(kept).double(), torch.tensor(top1).double()
    return float(torch.trapezoid(y, x) / (x[-1] - x[0]))


def _vit(trained: Trained, options: Options, classes: int) -> tuple[VisionTransformer, Tensor]:
    """The ViT on the device, and its number of each class of the data."""
    if options.weights is None:
        images = open_images(trained.experiment.data, "train")
        size = {"width": options.width, "depth": options.depth, "steps": options.steps}
        experiment, device = trained.experiment, trained.device
        vit = train_small_vit(images, experiment, device, seed=options.seed, **size)
        return vit, torch.arange(classes)
    vit = load_given(_created(options.model), options.weights, options.model)
    return vit.to(trained.device), check_classes(vit.num_classes, options.class_index, classes)


def _created(name: str) -> VisionTransformer:
    """An untrained network of timm."""
    if name in timm.list_models("vit_*"):
        match timm.create_model(name):
            case VisionTransformer() as vit:
                return vit
    raise ValueError(f"model: {name} is no VisionTransformer of timm; try vit_base_patch32_384")


def _pixels(
    vit: VisionTransformer, images: Images, trained: Trained, options: Options
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the images at the size and with the normalisation of the ViT."""
    size = vit.patch_embed.img_size[0]
    data = trained.experiment.data.model_copy(update={"image_size": size})
    experiment: Experiment = trained.experiment.model_copy(update={"data": data})
    cfg = timm.get_pretrained_cfg(options.model) if options.weights else None
    own_mean, own_std = (cfg.mean, cfg.std) if cfg else (MEAN, STD)
    mean, std, its_mean, its_std = (
        torch.tensor(values, device=trained.device).view(3, 1, 1)
        for values in (MEAN, STD, own_mean, own_std)
    )
    for pixels, shown in plain_batches(images, experiment, trained.device):
        yield pixels * (std / its_std) + (mean - its_mean) / its_std, shown


def _scores(trained: Trained, images: Images, side: int, options: Options) -> Scores:
    """Of all ways but <CLS>, which the ViT itself knows."""
    first = build(trained.experiment).to(trained.device).eval()
    untrained = Trained(trained.path, trained.experiment, first, trained.device)
    scores = {
        "rank": resampled(play_images(trained, images).ranks(), side),
        "rank_epoch0": resampled(play_images(untrained, images).ranks(), side),
        "centre": from_middle(side).expand(len(images), -1),
    }
    for number in range(options.random_seeds):
        own = torch.Generator().manual_seed(stream(options.seed, "patch_subset", number))
        scores[f"random{number}"] = torch.rand(len(images), side**2, generator=own)
    return scores


@torch.no_grad()
def _curves(
    vit: VisionTransformer,
    batches: Iterator[tuple[Tensor, Tensor]],
    labels: tuple[Tensor, Tensor],
    scores: Scores,
    kept: list[int],
) -> dict[str, list[float]]:
    """Top-1 at each k. `labels` are those of the images and the ViT's number of each class."""
    hits = {name: torch.zeros(len(kept)) for name in (*scores, "cls_attention")}
    start = 0
    for pixels, shown in tracked(batches, "patch subsets", batches_of(len(labels[0]))):
        truth = labels[1][labels[0][shown]].to(pixels.device)
        tokens = vit._pos_embed(vit.patch_embed(pixels))
        rows = slice(start, start + len(pixels))
        own = {name: values[rows].to(pixels.device) for name, values in scores.items()}
        own["cls_attention"] = cls_attention(vit, pixels)
        for name, values in own.items():
            order = values.argsort(dim=1, descending=True, stable=True)
            for i, k in enumerate(kept):
                found = _rest(vit, tokens, order[:, :k]).argmax(dim=1)
                hits[name][i] += (found == truth).sum().cpu()
        start = rows.stop
    return {name: (counts / start).tolist() for name, counts in hits.items()}


def _averaged(curves: dict[str, list[float]], seeds: int) -> dict[str, list[float]]:
    chance = torch.tensor([curves[f"random{number}"] for number in range(seeds)]).mean(dim=0)
    rest = {name: top1 for name, top1 in curves.items() if not name.startswith("random")}
    return {**rest, "random": chance.tolist()}


def _drawing(
    kept: list[int],
    curves: dict[str, list[float]],
    averaged: dict[str, list[float]],
    options: Options,
) -> Figure:
    names = {"rank": "PatchRank, trained", "rank_epoch0": "PatchRank, epoch 0"}
    names |= {"cls_attention": "<CLS> attention", "random": "by chance"}
    network = options.model if options.weights else "a small ViT trained here"
    with figure((7.0, 4.2)) as drawing:
        axes = drawing.add_subplot()
        for (name, top1), look in zip(averaged.items(), looks(), strict=False):
            axes.plot(kept, top1, label=names.get(name, name), **look)
            if name == "random":
                every = torch.tensor([v for n, v in curves.items() if n.startswith("random")])
                low, high = every.min(dim=0).values, every.max(dim=0).values
                axes.fill_between(kept, low.numpy(), high.numpy(), color=look["color"], alpha=0.2)
        axes.set_xlabel("patches kept, k")
        axes.set_ylabel("top-1")
        axes.set_ylim(bottom=0)
        seeds = f"by chance: mean and range of {options.random_seeds} draws"
        axes.set_title(f"{network}; {seeds}", fontsize=10, loc="left", color="0.3")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return drawing


def _words(
    averaged: dict[str, list[float]], kept: list[int], options: Options, vit: VisionTransformer
) -> str:
    areas = ", ".join(f"{name} {area(kept, top1):.4f}" for name, top1 in averaged.items())
    told = f"Area under top-1 against k: {areas}."
    if options.weights:
        return f"{told}\n{weights_said(vit, options.model)}"
    return (
        "NOT THE PAPER'S NETWORK: no weights were given, so a small ViT was trained here for "
        f"{options.steps} steps on the labels of the training split. Its numbers compare ways to "
        "choose patches with one another and with nothing else; --weights FILE for Fig. 4.\n"
        f"{told}"
    )
