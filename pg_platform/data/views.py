"""Two random views of each image: what is drawn for them, and which images it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pg_platform.config.experiment import ColorJitter, ListenerView, SpeakerView, Views
from pg_platform.data import colours
from pg_platform.data.crops import CROP_DRAWS
from pg_platform.data.upload import constant, upload

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels: every view ends normalised by them."""

_COLOUR_DRAWS = 10


@dataclass(frozen=True)
class Draws:
    """The random numbers of one view of some images, on the CPU.

    All are drawn whatever is switched off, so that what is left on stays as it was.
    """

    crop: Tensor  # (n, CROP_DRAWS), uniform in [0, 1)
    colour: Tensor  # (n, 10), uniform in [0, 1)
    order: Tensor  # (n, 4) int64, of brightness, contrast, saturation, hue


def draw_views(seed: int, images: int, rows: slice = slice(None)) -> tuple[Draws, Draws]:
    """The numbers of the speaker's and the listener's view, for `rows` of `images` images."""
    generator = torch.Generator().manual_seed(seed)
    return _draw(generator, images, rows), _draw(generator, images, rows)


def _draw(generator: torch.Generator, images: int, rows: slice) -> Draws:
    uniform = torch.rand(images, CROP_DRAWS + _COLOUR_DRAWS, generator=generator)[rows]
    order = torch.rand(images, len(colours.JITTERS), generator=generator)[rows].argsort(dim=1)
    return Draws(uniform[:, :CROP_DRAWS], uniform[:, CROP_DRAWS:], order)


def finish(
    pixels: Tensor,
    draws: Draws,
    views: Views,
    own: SpeakerView | ListenerView,
    together: int | None = None,
) -> Tensor:
    """`augment`, then `normalize`, while the pixels are still in the cache."""
    finished = torch.empty(pixels.shape, device=pixels.device)
    mean, scale = _normal(pixels.device)
    for rows, part in _parts(pixels, _changes(draws, views, own, pixels), together):
        torch.mul(part.sub_(mean), scale, out=finished[rows])
    return finished


def augment(
    pixels: Tensor,
    draws: Draws,
    views: Views,
    own: SpeakerView | ListenerView,
    together: int | None = None,
) -> Tensor:
    """Flip, jitter, grey, blur and solarise (n, 3, h, w), each image by its own draws.

    Takes uint8, or floats in [0, 1], and gives floats in [0, 1]. `own` are the probabilities that
    only this agent's view has. `together` images go through an operation at once: by default
    one on a CPU, whose cache holds it from the first operation to the last, and all elsewhere.
    Whether an image is changed is known on the host, so only those that are go through an
    operation, and no device is waited for.
    """
    changes = _changes(draws, views, own, pixels)
    return torch.cat([part for _, part in _parts(pixels, changes, together)])


def normalize(pixels: Tensor) -> Tensor:
    """(n, 3, h, w) in [0, 1] to mean 0 and standard deviation 1 over ImageNet."""
    mean, scale = _normal(pixels.device)
    return (pixels - mean) * scale


def _normal(device: torch.device) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) each: what is subtracted, and by what the rest is multiplied."""
    mean = constant(MEAN, device).view(3, 1, 1)
    return mean, 1 / constant(STD, device).view(3, 1, 1)


_Rows = slice | Tensor
"""Some images of a batch: a run of them, or their numbers on the device."""


class _Change(NamedTuple):
    """An operation on some images of a batch, which may write into the pixels it is given."""

    chosen: list[bool]
    apply: Callable[[Tensor, _Rows], Tensor]
    """From the pixels of these rows alone, (rows, 3, h, w) in [0, 1], and their numbers."""


def _parts(
    pixels: Tensor, changes: list[_Change], together: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Some rows of the batch at a time, changed, in memory of their own."""
    if together is None:
        together = 1 if pixels.device.type == "cpu" else len(pixels)
    for start in range(0, len(pixels), together):
        rows = slice(start, min(start + together, len(pixels)))
        part = _floats(pixels[rows])
        for change, chosen in zip(changes, _chosen(changes, rows, part.device), strict=True):
            part = _changed(part, rows, change, chosen)
        yield rows, part


def _floats(pixels: Tensor) -> Tensor:
    """A copy in [0, 1]."""
    if pixels.dtype == torch.uint8:
        return pixels.float().mul_(1 / 255)
    return pixels.clone()


def _chosen(changes: list[_Change], rows: slice, device: torch.device) -> list[Tensor | int]:
    """The numbers of the rows that each change is chosen for, uploaded together; or all, or none.

    All and none are told by how many they are, for which nothing is uploaded.
    """
    numbers = [[row for row in range(rows.start, rows.stop) if c.chosen[row]] for c in changes]
    whole = rows.stop - rows.start
    some = [each for each in numbers if 0 < len(each) < whole]
    if not some:
        return [len(each) for each in numbers]
    uploaded = upload(torch.tensor([row for each in some for row in each]), device)
    parts = iter(uploaded.split([len(each) for each in some]))
    return [next(parts) if 0 < len(each) < whole else len(each) for each in numbers]


def _changed(part: Tensor, rows: slice, change: _Change, chosen: Tensor | int) -> Tensor:
    """`part`, the `rows` of the batch, with a change where it is chosen."""
    match chosen:
        case Tensor():
            there = chosen - rows.start
            return part.index_copy_(0, there, change.apply(part[there], chosen))
        case 0:
            return part
    return change.apply(part, rows)


def _changes(
    draws: Draws, views: Views, own: SpeakerView | ListenerView, pixels: Tensor
) -> list[_Change]:
    flip, jitter, *factors, grey, blur, sigma, solarize = draws.colour.unbind(1)
    jitters: list[_Change] = []
    if (strengths := views.color_jitter) is not None:
        chosen = jitter < strengths.probability
        drawn = _jitter_factors(torch.stack(factors), strengths)
        jitters = _jitters(draws.order, chosen, upload(drawn, pixels.device))
    bands = upload(colours.blur_weights(sigma, pixels.shape[3]), pixels.device)

    def blurred(pixels: Tensor, rows: _Rows) -> Tensor:
        return colours.blur(pixels, bands[rows])

    return [
        _Change((flip < views.flip).tolist(), lambda pixels, _: pixels.flip(3)),
        *jitters,
        _Change((grey < views.grayscale).tolist(), lambda pixels, _: colours.greyed(pixels)),
        _Change((blur < own.blur).tolist(), blurred),
        _Change((solarize < own.solarize).tolist(), lambda pixels, _: colours.solarize(pixels)),
    ]


def _jitters(order: Tensor, chosen: Tensor, factors: Tensor) -> list[_Change]:
    """Each operation at each place of the order, for the images that have it there."""
    return [
        _Change((chosen & (order[:, place] == operation)).tolist(), partial(_jitter, change, own))
        for place in range(len(colours.JITTERS))
        for operation, (change, own) in enumerate(zip(colours.JITTERS, factors, strict=True))
    ]


def _jitter_factors(uniform: Tensor, strengths: ColorJitter) -> Tensor:
    """(4, n) factors as torchvision's ColorJitter draws them, from uniform numbers."""
    around_one = [strengths.brightness, strengths.contrast, strengths.saturation]
    low = torch.tensor([max(0.0, 1 - width) for width in around_one] + [-strengths.hue])[:, None]
    high = torch.tensor([1 + width for width in around_one] + [strengths.hue])[:, None]
    return low + (high - low) * uniform


def _jitter(
    change: Callable[[Tensor, Tensor], Tensor], factors: Tensor, pixels: Tensor, rows: _Rows
) -> Tensor:
    return change(pixels, factors[rows].view(-1, 1, 1, 1))
