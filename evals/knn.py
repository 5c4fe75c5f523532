"""Table 1: weighted k-nearest-neighbour classification on the listener's vision features.

The bank is the whole training split, the queries are the validation split, both in the plain
view. Features are L2-normalised; each of the k nearest neighbours votes for its class with weight
exp(similarity / temperature). The search is exact: of equally near neighbours those that come first
in the split are taken, of classes with equal votes the lower one is ranked first.
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from pg_platform.config.section import Section
from pg_platform.data.images import Images, open_images
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained, plain_pass
from pg_platform.progress import tracked


class Options(Section):
    """The paper's protocol: k = 20, temperature 0.07.

    `query_chunk` times `bank_chunk` similarities are held at once; neither changes the result.
    """

    k: PositiveInt = 20
    temperature: PositiveFloat = 0.07
    query_chunk: PositiveInt = 1024
    bank_chunk: PositiveInt = 32768


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Top-1 and top-5 accuracy, named with k and temperature.

    Raises ValueError where a split has no labels or the bank has fewer than k images.
    """
    bank, bank_labels = _features(trained, "train")
    queries, query_labels = _features(trained, "val")
    if len(bank) < options.k:
        raise ValueError(f"k is {options.k} and the bank has {len(bank)} images; try --set k=1")
    classes = int(max(bank_labels.max(), query_labels.max())) + 1
    top = min(5, classes)
    ranked = torch.cat(
        [
            _ranked(knn_votes(chunk, bank, bank_labels, classes=classes, options=options))[:, :top]
            for chunk in tracked(queries.split(options.query_chunk), "neighbours")
        ]
    )
    hits = ranked == query_labels[:, None]
    protocol = f"k{options.k}_T{options.temperature:g}"
    return EvaluationResult(
        {
            f"knn/top1_{protocol}": hits[:, 0].double().mean().item(),
            f"knn/top5_{protocol}": hits.any(dim=1).double().mean().item(),
        }
    )


def knn_votes(
    queries: Tensor, bank: Tensor, labels: Tensor, *, classes: int, options: Options
) -> Tensor:
    """(queries, classes) float64 sums of neighbour weights, from L2-normalised (n, width)."""
    similarity, neighbours = nearest(queries, bank, options)
    weights = (similarity.double() / options.temperature).exp()
    votes = weights.new_zeros(len(queries), classes)
    return votes.scatter_add_(1, labels[neighbours], weights)


def nearest(queries: Tensor, bank: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Similarities and bank positions (queries, k) of the k nearest, by ascending position."""
    similarity = queries.new_empty(len(queries), 0)
    position = torch.empty_like(similarity, dtype=torch.long)
    for start in range(0, len(bank), options.bank_chunk):
        found = queries @ bank[start : start + options.bank_chunk].T
        columns = _highest(found, options.k)
        similarity = torch.cat((similarity, found.gather(1, columns)), dim=1)
        position = torch.cat((position, start + columns), dim=1)
        best = _highest(similarity, options.k)
        similarity, position = similarity.gather(1, best), position.gather(1, best)
    return similarity, position


def _highest(values: Tensor, k: int) -> Tensor:
    """Columns (rows, k) of the k highest values of each row, ascending; of equals the first.

    All columns where there are fewer. `topk` takes any of several equals, so where the next value
    is as high it only gives the least value that is high enough.
    """
    if values.shape[1] <= k:
        return torch.arange(values.shape[1], device=values.device).expand(values.shape)
    highest, columns = values.topk(k + 1, dim=1)
    least, columns = highest[:, k - 1 : k], columns[:, :k]
    (tied,) = (least == highest[:, k:]).squeeze(1).nonzero(as_tuple=True)
    if len(tied):
        above, equal = values[tied] > least[tied], values[tied] == least[tied]
        room = k - above.sum(dim=1, keepdim=True)
        first = above | (equal & (equal.cumsum(dim=1) <= room))
        columns[tied] = first.nonzero()[:, 1].view(-1, k)
    return columns.sort(dim=1).values


def _ranked(votes: Tensor) -> Tensor:
    """Classes by falling votes, (queries, classes)."""
    return votes.argsort(dim=1, descending=True, stable=True)


@torch.no_grad()
def _features(trained: Trained, split: str) -> tuple[Tensor, Tensor]:
    """Normalised features (labelled images, width) of a split, and their labels."""
    images: Images = open_images(trained.experiment.data, "train" if split == "train" else "val")
    features, index = [], []
    for pixels, positions in plain_pass(trained, images, f"features of {split}"):
        features.append(normalize(trained.method.features(pixels).float(), dim=1))
        index.append(positions)
    labels = images.labels[torch.cat(index)].to(trained.device)
    labelled = labels >= 0
    if not labelled.any():
        raise ValueError(f"data: no image of the {split} split has a label, and k-NN needs them")
    return torch.cat(features)[labelled], labels[labelled]
