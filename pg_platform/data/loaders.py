"""One worker's share of each global batch: seeded by step, so that it can start anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import torch
from torch import Tensor

from pg_platform.config.experiment import Crop, Experiment, Views
from pg_platform.config.seeds import stream
from pg_platform.data.crops import CROP_DRAWS, Cuts, cut_batch, random_boxes
from pg_platform.data.decoding import Decoder
from pg_platform.data.images import Images
from pg_platform.data.listing import name_hash
from pg_platform.data.sizes import EVALUATION_BATCH, check_pool, steps_in
from pg_platform.data.upload import upload
from pg_platform.data.views import Draws, draw_views, finish, normalize

__all__ = [
    "EVALUATION_BATCH",
    "Batch",
    "GameLoader",
    "Share",
    "plain_batches",
    "validation_batches",
]


@dataclass(frozen=True)
class Share:
    """Which of `world` equal parts of each global batch a worker sees."""

    rank: int = 0
    world: int = 1

    def rows(self, batch_size: int) -> slice:
        """Its rows of a global batch."""
        assert batch_size % self.world == 0, "the experiment has checked that workers divide it"
        each = batch_size // self.world
        return slice(self.rank * each, (self.rank + 1) * each)


@dataclass(frozen=True)
class Batch:
    """Two views of some images, (b, 3, size, size) float32 normalised, on the device."""

    speaker: Tensor
    listener: Tensor
    index: Tensor
    """(b,) int64 on the CPU: the position in the split of each image that is shown."""


class GameLoader:
    """Epochs of batches from a training split; whole global batches only.

    Raises ValueError where the split cannot fill one batch.
    """

    def __init__(
        self, images: Images, experiment: Experiment, share: Share, device: torch.device
    ) -> None:
        self.images, self.experiment, self.device = images, experiment, device
        self.rows = share.rows(experiment.batch_size)
        self.steps = steps_in(len(images), experiment)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """This worker's share of the batches of an epoch, from `first_step` on.

        The images and the views of a global batch follow from the experiment's seed, `epoch` and
        the step, whatever was asked for before and however many workers share them.
        """
        seed, batch_size = self.experiment.seed, self.experiment.batch_size
        generator = torch.Generator().manual_seed(stream(seed, "order", epoch))
        order = torch.randperm(len(self.images), generator=generator)
        deals = (
            _Deal(
                order[step * batch_size : (step + 1) * batch_size][self.rows],
                draw_views(stream(seed, "views", epoch, step), batch_size, self.rows),
            )
            for step in range(first_step, self.steps)
        )
        return _batches(self.images, self.experiment, self.experiment.views, deals, self.device)


def validation_batches(
    images: Images, experiment: Experiment, device: torch.device
) -> Iterator[Batch]:
    """Two views of the images of whole pools, equal in every epoch and for every seed.

    The first floor(n / pool) * pool images are used, in the order of a hash, which mixes the
    classes. Raises ValueError where the split cannot fill one pool.
    """
    check_pool(len(images), experiment)
    pool = experiment.validation.pool_size
    hashes = [name_hash(f"validation/{name}") for name in images.ids]
    order = torch.tensor(sorted(range(len(images)), key=hashes.__getitem__))
    used = order[: len(images) // pool * pool]
    deals = (
        _Deal(positions, draw_views(stream(0, "validation", step), len(positions)))
        for step, positions in enumerate(torch.split(used, EVALUATION_BATCH))
    )
    views = experiment.validation.views or experiment.views
    return _batches(images, experiment, views, deals, device)


def plain_batches(
    images: Images, experiment: Experiment, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, as it is: pixels (b, 3, size, size) normalised, and positions (b,).

    The middle of a photo, its shorter side resized to size * 256 / 224; the whole of an image
    that is held in memory. A broken image is replaced as in training.
    """
    cuts = (
        Cuts(positions, torch.zeros(1, len(positions), CROP_DRAWS))
        for positions in torch.split(torch.arange(len(images)), EVALUATION_BATCH)
    )
    for (pixels,), shown in _cut(images, cuts, None, experiment.data.image_size, device):
        yield normalize(pixels if pixels.is_floating_point() else pixels / 255), shown


@dataclass(frozen=True)
class _Deal:
    """The images of a batch and the random numbers of their two views."""

    positions: Tensor
    draws: tuple[Draws, Draws]


def _batches(
    images: Images,
    experiment: Experiment,
    views: Views,
    deals: Iterable[_Deal],
    device: torch.device,
) -> Iterator[Batch]:
    deals, ahead = tee(deals)
    cuts = (Cuts(one.positions, torch.stack([draws.crop for draws in one.draws])) for one in ahead)
    cut = _cut(images, cuts, views.crop, experiment.data.image_size, device)
    for deal, (pixels, shown) in zip(deals, cut, strict=True):
        yield Batch(
            speaker=finish(pixels[0], deal.draws[0], views, views.speaker),
            listener=finish(pixels[1], deal.draws[1], views, views.listener),
            index=shown,
        )


def _cut(
    images: Images, cuts: Iterable[Cuts], law: Crop | None, size: int, device: torch.device
) -> Iterator[tuple[Sequence[Tensor], Tensor]]:
    """Views (n, 3, size, size) each, on the device, and the positions (n,) shown.

    They are uint8 where the host has cut them, else floats in [0, 1].
    """
    if isinstance(images.pixels, Tensor):
        # All of them live on the device from the first batch on, and are cut there.
        pixels = images.pixels = images.pixels.to(device)
        for one in cuts:
            chosen = pixels[upload(one.positions, device)]
            yield [_cut_in_memory(chosen, own, law, size) for own in one.uniform], one.positions
    else:
        for views, shown in Decoder(images, images.pixels, law, size).views(cuts, device):
            yield views.unbind(), shown


def _cut_in_memory(pixels: Tensor, uniform: Tensor, law: Crop | None, size: int) -> Tensor:
    count, _, height, width = pixels.shape
    if law is None:
        boxes = torch.tensor([0, 0, height, width]).expand(count, 4)
    else:
        boxes = random_boxes(
            uniform, law, torch.full((count,), height), torch.full((count,), width)
        )
    return cut_batch(pixels, boxes, size)
