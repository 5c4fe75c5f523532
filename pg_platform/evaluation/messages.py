"""What the agents of a trained method say about some images, and how these are chosen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from pg_platform.config.errors import DataError
from pg_platform.config.experiment import Experiment, ImageFolder
from pg_platform.config.paths import absolute
from pg_platform.config.seeds import stream
from pg_platform.data.image_set import subset
from pg_platform.data.images import Images, Split, open_images
from pg_platform.evaluation.trained import Trained, plain_pass
from pg_platform.plots.images import patches_over, shown

Pictures = Tensor | Image.Image | Sequence[Image.Image] | str | os.PathLike[str]
"""Images that a caller has: pixels, PIL images, or the folder in which they lie."""


@dataclass(frozen=True)
class SplitMessages:
    """The decided messages about n images in the plain view, on the CPU.

    `ids` (n, patches, symbols per patch) int64 and `gate` (n, patches) bool as of `GameOutput`,
    `importance` (n, patches), `labels` (n,) int64 with -1 where an image has none.
    """

    images: Images
    ids: Tensor
    gate: Tensor
    importance: Tensor
    labels: Tensor

    def ranks(self) -> Tensor:
        """Places of the patches of an image, (n, patches) from 0 to 1 for the most important.

        Raises ValueError where a speaker ranks nothing.
        """
        if bool((self.importance == self.importance[:, :1]).all()):
            raise ValueError(
                "the speaker ranks no patches, all importances are equal; evaluate a run whose "
                "speaker.gate.kind is bernoulli, top_k or adaptive"
            )
        return place_shares(self.importance)


def place_shares(values: Tensor) -> Tensor:
    """Each value's place among those of its row (rows, n), from 0 (lowest) to 1; equals share."""
    ascending = values.sort(dim=1).values.contiguous()
    below = torch.searchsorted(ascending, values.contiguous())
    not_above = torch.searchsorted(ascending, values.contiguous(), right=True)
    return (below + not_above - 1) / (2 * max(1, values.shape[1] - 1))


def play_images(trained: Trained, images: Images) -> SplitMessages:
    """Each of `images` said once."""
    rounds, shown = [], []
    for pixels, positions in plain_pass(trained, images, "messages"):
        played = trained.method.play((pixels, pixels))
        rounds.append([x.cpu() for x in (played.ids, played.gate, played.importance)])
        shown.append(positions)
    ids, gate, importance = (torch.cat(parts) for parts in zip(*rounds, strict=True))
    return SplitMessages(images, ids, gate, importance, images.labels[torch.cat(shown)].cpu())


@dataclass(frozen=True)
class Messages:
    """What a speaker says of n images, as arrays.

    `symbols` (n, patches, symbols per patch) int64 has what it would say of each patch, row by row
    of the grid; `gates` (n, patches) bool says which were sent; `importance` (n, patches) float32
    is how it ranks them. `ids` are the names of the images.

    >>> said = Messages(
    ...     symbols=np.array([[[7], [1], [1], [4]]]),
    ...     gates=np.array([[True, False, False, True]]),
    ...     importance=np.array([[0.9, -1.0, -0.8, 0.9]], dtype=np.float32),
    ...     ids=["a.png"],
    ... )
    >>> said.sent(0)
    [(0, (7,)), (3, (4,))]
    """

    symbols: NDArray[np.int64]
    gates: NDArray[np.bool_]
    importance: NDArray[np.float32]
    ids: Sequence[str]
    trained: Trained | None = None
    images: Images | None = None

    @classmethod
    def of(cls, played: SplitMessages, trained: Trained) -> Messages:
        """Those of a split that was played."""
        importance = played.importance.float().numpy()
        arrays = (played.ids.numpy(), played.gate.numpy(), importance)
        return cls(*arrays, played.images.ids, trained, played.images)

    def __len__(self) -> int:
        return len(self.symbols)

    def sent(self, image: int) -> list[tuple[int, tuple[int, ...]]]:
        """The patches of an image that were sent, each with its symbols."""
        patches = self.gates[image].nonzero()[0].tolist()
        return [(patch, tuple(self.symbols[image, patch].tolist())) for patch in patches]

    def pixels(self, images: Sequence[int]) -> NDArray[np.float32]:
        """Some of the images as the speaker saw them, (m, size, size, 3) in [0, 1]."""
        assert self.images is not None, "made by Run.messages"
        assert self.trained is not None, "made by Run.messages"
        chosen = subset(self.images, torch.tensor(list(images)))
        seen = [pixels for pixels, _ in plain_pass(self.trained, chosen, "images")]
        found: NDArray[np.float32] = shown(torch.cat(seen)).numpy()
        return found

    def figure(self, images: Sequence[int] = range(8), columns: int = 4) -> Figure:
        """Some of the images; the sent patches are outlined and have their symbols in them."""
        chosen = [image for image in images if image < len(self)]
        named = [{p: " ".join(map(str, s)) for p, s in self.sent(image)} for image in chosen]
        titles = [os.path.basename(self.ids[image]) for image in chosen]
        side = round(self.gates.shape[1] ** 0.5)
        return patches_over(self.pixels(chosen), named, titles, side, columns)


def as_images(given: Pictures | None, experiment: Experiment, split: Split) -> Images:
    """What a caller gives as a set of images; "train", "val" or None is a split of the run's own.

    Of a folder `split` is taken. PIL images are cut as photos are, tensors are taken whole. Raises
    DataError where there is no folder, ValueError for pixels of another form.
    """
    match given:
        case None:
            return open_images(experiment.data, split)
        case "train":
            return open_images(experiment.data, "train")
        case "val":
            return open_images(experiment.data, "val")
        case str() | os.PathLike():
            return open_images(_folder(absolute(os.fspath(given)), experiment), split)
        case Tensor():
            return _as_set(_bytes(given))
        case Image.Image():
            return _as_set(_Decoded([given]))
        case [*several] if several and all(isinstance(each, Image.Image) for each in several):
            return _as_set(_Decoded(several))
    raise ValueError(
        "images: wants a tensor (n, 3, h, w), PIL images or a folder, got "
        f"{'an empty list' if given == [] else type(given).__name__}"
    )


def _folder(path: str, experiment: Experiment) -> ImageFolder:
    """The images there, divided into splits as those of the experiment where it has a folder."""
    if not Path(path).is_dir():
        raise DataError("images", f"no folder {path}", "say where it lies with {}", "FOLDER")
    own = experiment.data
    if isinstance(own, ImageFolder):
        return own.model_copy(update={"path": path})
    return ImageFolder(kind="image_folder", path=path, image_size=own.image_size)


@dataclass(frozen=True)
class _Decoded:
    """PIL images, as the files of a folder are: each of a size of its own."""

    several: Sequence[Image.Image]
    processes: int = 0

    def __len__(self) -> int:
        return len(self.several)

    def image(self, position: int) -> Tensor:
        pixels: Tensor = pil_to_tensor(self.several[position].convert("RGB"))
        return pixels

    def name(self, position: int) -> str:
        return str(getattr(self.several[position], "filename", "") or f"image {position}")


def _bytes(pixels: Tensor) -> Tensor:
    """Pixels (n, 3, h, w) or (3, h, w) as (n, 3, h, w) uint8."""
    several = pixels[None] if pixels.dim() == 3 else pixels
    form = f"{pixels.dtype} {tuple(pixels.shape)}".removeprefix("torch.")
    if several.dim() != 4 or several.shape[1] != 3 or not len(several):
        raise ValueError(f"images: wants a tensor (n, 3, h, w), got {form}")
    if several.dtype == torch.uint8:
        return several
    if not several.is_floating_point() or several.min() < 0 or several.max() > 1:
        raise ValueError(f"images: wants uint8, or floats in [0, 1], got {form}")
    return (several * 255).round().to(torch.uint8)


def _as_set(pixels: Any) -> Images:
    count = len(pixels)
    ids = [pixels.name(i) if isinstance(pixels, _Decoded) else f"image {i}" for i in range(count)]
    return Images((), torch.full((count,), -1), ids, pixels)


def labelled(images: Images, what: str) -> Tensor:
    """Positions (m,) of the images that have labels; ValueError where none has."""
    found = (images.labels >= 0).nonzero()[:, 0]
    if not len(found):
        raise ValueError(f"data: no image of the split has a label, and {what} needs them")
    return found


def some(positions: Tensor, count: int, seed: int, what: str) -> Tensor:
    """`count` of `positions` by chance, ascending; all where there are no more."""
    generator = torch.Generator().manual_seed(stream(seed, what))
    order = torch.randperm(len(positions), generator=generator)[:count]
    return positions[order].sort().values


def resampled(ranks: Tensor, side: int) -> Tensor:
    """Ranks (n, g * g) as means over the area of each patch of another grid, (n, side * side)."""
    grid = round(ranks.shape[1] ** 0.5)
    if grid == side:
        return ranks
    edges, own = torch.arange(side + 1) / side, torch.arange(grid + 1) / grid
    low = torch.maximum(edges[:-1, None], own[:-1])
    high = torch.minimum(edges[1:, None], own[1:])
    share = (high - low).clamp(min=0) * side  # (side, grid), rows sum to 1
    averaged: Tensor = share @ ranks.unflatten(1, (grid, grid)) @ share.T
    return averaged.flatten(1)


def from_middle(side: int) -> Tensor:
    """Higher the nearer a patch is to the middle of the grid: its negative distance, (side^2,)."""
    at = torch.arange(side) - (side - 1) / 2
    return -(at[:, None] ** 2 + at**2).sqrt().flatten()
