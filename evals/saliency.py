"""Fig. 11: where a supervised network looks (XGradCAM, true label) beside where PatchRank does.

XGradCAM (Fu et al. 2020, eq. 8): a map is the rectified sum over channels of the last feature maps
A_c, each weighted by sum_xy (A_c * dy/dA_c) / sum_xy A_c for the logit y of the label. The numbers
are means over images of the validation split, on the speaker's grid to which maps are averaged by
area: Spearman's correlation of map and ranks; the pointing game (the patch ranked first is among
the upper fifth of the map) and its chance; and the share of the map's mass in the k patches ranked
first, averaged over k (0.5 where ranks know nothing), for these ranks and for patches from the
middle outwards.
"""

from __future__ import annotations

import statistics
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision import models

from pg_platform.config.section import Section
from pg_platform.data.image_set import subset
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.evaluation.messages import (
    from_middle,
    labelled,
    place_shares,
    play_images,
    resampled,
    some,
)
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained, batches_of
from pg_platform.plots.images import maps_beside
from pg_platform.probes.pretrained import Weights, check_classes, load_given, weights_said
from pg_platform.progress import tracked

_SIDE = 224
_UPPER = 0.2
"""The share of a map that the pointing game counts as looked at."""


class Options(Section):
    """A network of torchvision and the file of its weights; `class_index` as in patch_subset."""

    weights: Weights
    network: Literal["resnet50", "mobilenet_v2", "squeezenet1_1"] = "resnet50"
    class_index: tuple[NonNegativeInt, ...] = ()
    images: PositiveInt = 500
    drawn: PositiveInt = 8
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """The figure and the numbers. Raises ValueError where nothing is ranked or labelled."""
    everything = open_images(trained.experiment.data, "val")
    chosen = some(labelled(everything, "saliency"), options.images, options.seed, "saliency")
    images = subset(everything, chosen)
    network = models.get_model(options.network, weights=None)
    network = load_given(network, options.weights, options.network).to(trained.device)
    index = check_classes(1000, options.class_index, len(images.classes))
    pixels, maps, right = _maps(network, images, index, trained, options.drawn)
    ranks = play_images(trained, images).ranks()
    side = round(ranks.shape[1] ** 0.5)
    flat = resampled(maps.flatten(1), side)
    metrics = agreement(ranks, flat)
    metrics["area_from_middle"] = mass_area(from_middle(side).expand_as(flat), flat)
    metrics["network_top1"] = right
    count = len(pixels)
    titles = [images.classes[label] for label in images.labels[:count].tolist()]
    grey = place_shares(interpolate(maps[:count, None], (56, 56), mode="bilinear").flatten(1))
    shown = [("XGradCAM", grey.unflatten(1, (56, 56)))]
    shown.append(("PatchRank", ranks[:count].unflatten(1, (side, side))))
    drawing = maps_beside(pixels, shown, titles, min(2, count))
    protocol = f"{options.network}_n{len(images)}"
    return EvaluationResult(
        {f"saliency/{name}_{protocol}": value for name, value in metrics.items()},
        figures={"fig11": drawing},
        words=(
            f"The network names {right:.1%} of these images right; where that is little, its maps "
            f"say little.\n{weights_said(network, options.network)}"
        ),
    )


def xgradcam(network: nn.Module, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (batch, h, w) of the labels (batch,), not below 0, and logits (batch, classes).

    `network` is torchvision's: what is left of it after its last feature maps gives the logits.
    """
    with torch.enable_grad():
        maps = _last_maps(network, pixels).detach().requires_grad_()
        logits = _head(network, maps)
        chosen = logits.gather(1, labels[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, maps)
    maps = maps.detach()
    total = maps.sum(dim=(2, 3))
    # A channel that is nowhere active has no part in the map, whatever its weight.
    weight = (gradient * maps).sum(dim=(2, 3)) / torch.where(total == 0, 1, total)
    return (weight[:, :, None, None] * maps).sum(dim=1).relu(), logits.detach()


def agreement(ranks: Tensor, maps: Tensor) -> dict[str, float]:
    """How ranks and maps (n, patches) agree; constant maps are left out and counted."""
    varied = (maps != maps[:, :1]).any(dim=1) & (ranks != ranks[:, :1]).any(dim=1)
    if not varied.any():
        raise ValueError("no saliency map varies over the image: is this the right network?")
    ranks, maps = ranks[varied], maps[varied]
    first = ranks.argmax(dim=1, keepdim=True)
    looked = max(1, round(_UPPER * maps.shape[1]))
    upper = maps.argsort(dim=1, descending=True, stable=True)[:, :looked]
    spearman = [float(spearmanr(r, m).statistic) for r, m in zip(ranks, maps, strict=True)]
    return {
        "spearman": statistics.fmean(spearman),
        "pointing": float((upper == first).any(dim=1).double().mean()),
        "pointing_chance": looked / maps.shape[1],
        "area": mass_area(ranks, maps),
        "constant_maps": float((~varied).sum()),
    }


def mass_area(ranks: Tensor, maps: Tensor) -> float:
    """Area under the share of a map's mass in the k patches ranked first, over k/patches."""
    varied = maps.sum(dim=1) > 0
    order = ranks[varied].argsort(dim=1, descending=True, stable=True)
    mass = maps[varied].double().gather(1, order).cumsum(dim=1)
    shares = torch.nn.functional.pad(mass / mass[:, -1:], (1, 0))
    return float(torch.trapezoid(shares, dim=1).mean() / maps.shape[1])


def _maps(
    network: nn.Module, images: Images, index: Tensor, trained: Trained, drawn: int
) -> tuple[Tensor, Tensor, float]:
    """Pixels of the first `drawn` images, maps (n, h, w) of all, and the network's top-1."""
    data = trained.experiment.data.model_copy(update={"image_size": _SIDE})
    experiment = trained.experiment.model_copy(update={"data": data})
    first: list[Tensor] = []
    found, right = [], 0
    batches = plain_batches(images, experiment, trained.device)
    for pixels, shown in tracked(batches, "saliency", batches_of(len(images))):
        truth = index[images.labels[shown]].to(trained.device)
        for part, labels in zip(pixels.split(32), truth.split(32), strict=True):
            maps, logits = xgradcam(network, part, labels)
            found.append(maps.cpu())
            right += int((logits.argmax(dim=1) == labels).sum())
        first += pixels[: drawn - len(first)].cpu()
    return torch.stack(first), torch.cat(found), right / len(images)


def _last_maps(network: nn.Module, pixels: Tensor) -> Tensor:
    match network:
        case models.ResNet():
            x = network.maxpool(network.relu(network.bn1(network.conv1(pixels))))
            maps: Tensor = network.layer4(network.layer3(network.layer2(network.layer1(x))))
        case models.MobileNetV2() | models.SqueezeNet():
            maps = network.features(pixels)
        case _:
            raise AssertionError(f"no rule for the last maps of {type(network).__name__}")
    return maps


def _head(network: nn.Module, maps: Tensor) -> Tensor:
    match network:
        case models.ResNet():
            logits: Tensor = network.fc(network.avgpool(maps).flatten(1))
        case models.MobileNetV2():
            logits = network.classifier(maps.mean(dim=(2, 3)))
        case models.SqueezeNet():
            logits = network.classifier(maps).flatten(1)
        case _:
            raise AssertionError(f"no rule for the head of {type(network).__name__}")
    return logits
