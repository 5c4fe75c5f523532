"""Fig. 8: topographic similarity per class: messages as sets of symbols against how images look.

Of each class `per_class` images of the validation split are drawn (10: 45 pairs). The Jaccard
similarity of the sets of symbols sent about two images is compared with a distance of the images,
whose sign is flipped, so that more is more alike on both sides: Pearson's and Spearman's
correlation per class, mean and median over classes. The null permutes the messages among the images
of each class; p is the share of permutations (the data among them) whose mean Pearson is as high.

The distance is named in every metric: `lpips_vgg` (Zhang et al. 2018; the linear layers come with
the package lpips, the VGG-16 trunk is torchvision's `weights`), `squeeze_uncalibrated` (the same
over SqueezeNet 1.1 without trained layers: a perceptual distance, not LPIPS), or without weights
`own_features` (1 - cosine of the run's own vision module, which has learnt with these messages).
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, Literal, Self

import lpips  # type: ignore[import-untyped]
import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import normalize
from torchvision import models

from pg_platform.config.section import Section, Wrong
from pg_platform.config.seeds import stream
from pg_platform.data.image_set import subset
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.data.views import MEAN, STD
from pg_platform.evaluation.messages import SplitMessages, play_images, some
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.plots.style import figure
from pg_platform.probes.pretrained import Weights, load_given, weights_said
from pg_platform.store.table import Table

Distance = Literal["own_features", "lpips_vgg", "squeeze_uncalibrated"]


_FEWEST = 3
"""Images of a class: two have one pair, which cannot vary."""

_LEAST_SIDE = 64
"""In pixels: the trunks halve an image four times and more."""


class Options(Section):
    """Images of a class, the distance, and the file of its network's torchvision weights."""

    distance: Distance = "own_features"
    weights: Weights | None = None
    per_class: Annotated[int, Field(ge=_FEWEST)] = 10
    permutations: PositiveInt = 999
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _weights_where_needed(self) -> Self:
        if (self.weights is None) != (self.distance == "own_features"):
            wanted = "no weights" if self.weights else "--weights FILE"
            raise Wrong("distance", f"{self.distance} wants {wanted}", "weights")
        return self


@dataclass(frozen=True)
class _Class:
    """One class: similarities of all pairs of its images, and the two correlations."""

    name: str
    jaccard: Tensor
    alike: Tensor
    pearson: float
    spearman: float


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Correlations over classes. Raises ValueError where no class can be correlated."""
    everything = open_images(trained.experiment.data, "val")
    measure, words = _distance(trained, options)
    classes, left_out, null = [], 0, np.zeros(options.permutations)
    largest = max(int((everything.labels == i).sum()) for i in range(len(everything.classes)))
    for label, name in enumerate(everything.classes):
        rows = (everything.labels == label).nonzero()[:, 0]
        if len(rows) < options.per_class:
            left_out += 1
            continue
        chosen = some(rows, options.per_class, options.seed, f"topsim/{label}")
        images = subset(everything, chosen)
        similarity = jaccard(sets(play_images(trained, images)))
        alike = -measure(images)
        if _varies(_pairs(similarity)) and _varies(_pairs(alike)):
            classes.append(_correlated(name, similarity, alike))
            null += _permuted(similarity, alike, stream(options.seed, "topsim", label), options)
        else:
            left_out += 1
    if not classes:
        raise ValueError(
            f"per_class: no class of the validation split has {options.per_class} images whose "
            f"messages and looks vary, the largest has {largest}; {_remedy(largest, options)}"
        )
    mean = statistics.fmean(one.pearson for one in classes)
    p = (1 + int((null / len(classes) >= mean - 1e-12).sum())) / (1 + options.permutations)
    return EvaluationResult(
        _metrics(classes, p, left_out, options),
        tables={"classes": _table(classes)},
        figures={"fig8": _drawing(classes, options.distance)},
        words=words,
    )


def _remedy(largest: int, options: Options) -> str:
    if _FEWEST <= largest < options.per_class:
        return f"try --set per_class={largest}"
    return "take a run with a larger data.val_fraction, or one whose messages differ"


def sets(played: SplitMessages) -> list[frozenset[int]]:
    """The set of symbols sent about each image; slots are not told apart."""
    return [
        frozenset(ids[gate].flatten().tolist())
        for ids, gate in zip(played.ids, played.gate, strict=True)
    ]


def jaccard(said: list[frozenset[int]]) -> Tensor:
    """(n, n) shares of common symbols among those of two sets; two empty sets are equal."""
    rows = [[len(a & b) / len(a | b) if a | b else 1.0 for b in said] for a in said]
    return torch.tensor(rows, dtype=torch.float64)


def pearson(a: Tensor, b: Tensor) -> float:
    """Correlation of two vectors that vary."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return float((a @ b) / (a.norm() * b.norm()))


def _correlated(name: str, similarity: Tensor, alike: Tensor) -> _Class:
    a, b = _pairs(similarity), _pairs(alike)
    ranks = [torch.from_numpy(rankdata(values.numpy())) for values in (a, b)]
    return _Class(name, a, b, pearson(a, b), pearson(ranks[0], ranks[1]))


def _pairs(square: Tensor) -> Tensor:
    row, column = torch.triu_indices(len(square), len(square), offset=1)
    return square[row, column].double().cpu()


def _varies(values: Tensor) -> bool:
    return bool(values.max() > values.min())


def _permuted(
    similarity: Tensor, alike: Tensor, seed: int, options: Options
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Pearson of one class with its messages permuted, (permutations,)."""
    own = torch.Generator().manual_seed(seed)
    looks, found = _pairs(alike), []
    for _ in range(options.permutations):
        order = torch.randperm(len(similarity), generator=own)
        found.append(pearson(_pairs(similarity[order][:, order]), looks))
    return np.array(found)


def _distance(trained: Trained, options: Options) -> tuple[Callable[[Images], Tensor], str]:
    """Distances (n, n) of images, on the CPU; and whose they are, in words."""
    if options.weights is None:
        return lambda images: _own(trained, images), "Distances are of the run's own features."
    calibrated = options.distance == "lpips_vgg"
    name = "vgg16" if calibrated else "squeezenet1_1"
    given: Any = load_given(models.get_model(name, weights=None), options.weights, name)
    net = _untrained(
        net="vgg" if calibrated else "squeeze", pretrained=calibrated, lpips=calibrated
    )
    state = given.features.state_dict()
    # lpips keeps torchvision's layers under the same numbers, in slices.
    net.net.load_state_dict({key: state[key.split(".", 1)[1]] for key in net.net.state_dict()})
    net = net.to(trained.device).eval()
    return lambda images: _perceptual(net, trained, images), weights_said(given, name)


def _untrained(**kind: str | bool) -> lpips.LPIPS:
    """A distance over a trunk whose weights come later."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # lpips calls torchvision with an argument of an older version.
        warnings.filterwarnings("ignore", message=".*parameter 'pretrained' is deprecated")
        warnings.filterwarnings("ignore", message="Arguments other than a weight enum")
        return lpips.LPIPS(pnet_rand=True, verbose=False, **kind)


@torch.no_grad()
def _own(trained: Trained, images: Images) -> Tensor:
    found = [
        trained.method.features(pixels)
        for pixels, _ in plain_batches(images, trained.experiment, trained.device)
    ]
    features = normalize(torch.cat(found).double(), dim=1)
    return (1 - features @ features.T).cpu()


@torch.no_grad()
def _perceptual(net: lpips.LPIPS, trained: Trained, images: Images) -> Tensor:
    """At the experiment's own size, or 64 where that is less; lpips takes pixels in [-1, 1]."""
    size = max(_LEAST_SIDE, trained.experiment.data.image_size)
    data = trained.experiment.data.model_copy(update={"image_size": size})
    experiment = trained.experiment.model_copy(update={"data": data})
    mean, std = (torch.tensor(v, device=trained.device).view(3, 1, 1) for v in (MEAN, STD))
    batches = plain_batches(images, experiment, trained.device)
    pixels = torch.cat([(x * std + mean) * 2 - 1 for x, _ in batches])
    distance = torch.zeros(len(pixels), len(pixels), dtype=torch.float64)
    for a, b in combinations(range(len(pixels)), 2):
        distance[a, b] = distance[b, a] = float(net(pixels[a][None], pixels[b][None]))
    return distance


def _metrics(classes: list[_Class], p: float, left_out: int, options: Options) -> dict[str, float]:
    numbers = {"classes": float(len(classes)), "classes_left_out": float(left_out), "p": p}
    for name in ("pearson", "spearman"):
        values = [one.pearson if name == "pearson" else one.spearman for one in classes]
        numbers[f"{name}_mean"] = statistics.fmean(values)
        numbers[f"{name}_median"] = statistics.median(values)
    protocol = f"{options.distance}_n{options.per_class}"
    return {f"topsim_classes/{name}_{protocol}": value for name, value in numbers.items()}


def _ordered(classes: list[_Class]) -> list[_Class]:
    return sorted(classes, key=lambda one: (-one.pearson, one.name))


def _table(classes: list[_Class]) -> Table:
    rows = tuple((one.name, one.pearson, one.spearman) for one in _ordered(classes))
    return Table(("class", "pearson", "spearman"), rows)


def _drawing(classes: list[_Class], distance: str) -> Figure:
    """The best three classes above, the worst three below."""
    ordered = _ordered(classes)
    best, worst = ordered[:3], ordered[3:][-3:]
    with figure((8.5, 2.6 * (1 + bool(worst)))) as drawing:
        cells = drawing.subplots(1 + bool(worst), 3, squeeze=False)
        for row, those in zip(cells, (best, worst), strict=False):
            for axes in row[len(those) :]:
                axes.set_axis_off()
            for axes, one in zip(row, those, strict=False):
                x, y = one.alike.numpy(), one.jaccard.numpy()
                axes.plot(x, y, "o", color="0.2", alpha=0.5)
                slope, start = np.polyfit(x, y, 1)
                ends = np.array([x.min(), x.max()])
                axes.plot(ends, start + slope * ends, color="#D55E00")
                axes.set_title(f"{one.name}: r = {one.pearson:.2f}", fontsize=10)
        drawing.supxlabel(f"alike to look at: minus {distance}", fontsize=10)
        drawing.supylabel("Jaccard similarity of messages", fontsize=10)
    return drawing
