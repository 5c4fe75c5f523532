"""Two random views of each image: what is drawn for them, and how colours change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pg_platform.config.experiment import ColorJitter, ListenerView, SpeakerView, Views
from pg_platform.data.crops import CROP_DRAWS

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels: every view ends normalised by them."""

BLUR_SIGMA = (0.1, 2.0)
"""Standard deviation of the blur in pixels of an image of BLUR_SIZE; it scales with the image."""

BLUR_SIZE = 224

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
    order = torch.rand(images, len(_JITTERS), generator=generator)[rows].argsort(dim=1)
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
    for rows, part in _parts(pixels, _changes(draws, views, own, pixels.shape[3]), together):
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
    return torch.cat(
        [part for _, part in _parts(pixels, _changes(draws, views, own, pixels.shape[3]), together)]
    )


def normalize(pixels: Tensor) -> Tensor:
    """(n, 3, h, w) in [0, 1] to mean 0 and standard deviation 1 over ImageNet."""
    mean, scale = _normal(pixels.device)
    return (pixels - mean) * scale


def _normal(device: torch.device) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) each: what is subtracted, and by what the rest is multiplied."""
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
    return mean, 1 / torch.tensor(STD, device=device).view(3, 1, 1)


_Rows = slice | list[int]


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
        for change in changes:
            part = _changed(part, rows, change)
        yield rows, part


def _floats(pixels: Tensor) -> Tensor:
    """A copy in [0, 1]."""
    if pixels.dtype == torch.uint8:
        return pixels.float().mul_(1 / 255)
    return pixels.clone()


def _changed(part: Tensor, rows: slice, change: _Change) -> Tensor:
    """`part`, the `rows` of the batch, with a change where it is chosen."""
    chosen = [row for row in range(rows.start, rows.stop) if change.chosen[row]]
    if not chosen:
        return part
    if len(chosen) == len(part):
        return change.apply(part, rows)
    there = torch.tensor(chosen) - rows.start
    there = there.to(part.device, non_blocking=True)
    return part.index_copy_(0, there, change.apply(part[there], chosen))


def _changes(
    draws: Draws, views: Views, own: SpeakerView | ListenerView, width: int
) -> list[_Change]:
    flip, jitter, *factors, grey, blur, sigma, solarize = draws.colour.unbind(1)
    jitters: list[_Change] = []
    if (strengths := views.color_jitter) is not None:
        chosen = jitter < strengths.probability
        jitters = _jitters(draws.order, chosen, _jitter_factors(torch.stack(factors), strengths))
    bands = _bands(sigma, width)
    return [
        _Change((flip < views.flip).tolist(), lambda pixels, _: pixels.flip(3)),
        *jitters,
        _Change((grey < views.grayscale).tolist(), lambda pixels, _: _greyed(pixels)),
        _Change(
            (blur < own.blur).tolist(),
            lambda pixels, rows: _blur(pixels, bands[rows].to(pixels.device, non_blocking=True)),
        ),
        _Change((solarize < own.solarize).tolist(), lambda pixels, _: _solarize(pixels)),
    ]


def _jitters(order: Tensor, chosen: Tensor, factors: Tensor) -> list[_Change]:
    """Each operation at each place of the order, for the images that have it there."""
    return [
        _Change((chosen & (order[:, place] == operation)).tolist(), partial(_jitter, change, own))
        for place in range(len(_JITTERS))
        for operation, (change, own) in enumerate(zip(_JITTERS, factors, strict=True))
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
    own = factors[rows].to(pixels.device, non_blocking=True)
    return change(pixels, own.view(-1, 1, 1, 1))


def _brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    return pixels.mul_(factor).clamp_(0, 1)


def _contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(pixels.mean(dim=(2, 3), keepdim=True))  # the mean of the grey image
    return pixels.mul_(factor).add_(mean * (1 - factor)).clamp_(0, 1)


def _saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    grey = _grey(pixels).mul_(1 - factor)
    return pixels.mul_(factor).add_(grey).clamp_(0, 1)


def _hue(pixels: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` (n, 1, 1, 1) of a whole turn; value and saturation stay.

    With r, g, b scaled to a least of 0 and a largest of 1, the hue is 1 - r + g + b sextants from
    red, towards green where g > b. A channel lacks none of the chroma within one sextant of its
    own hue, and all of it from two on.
    """
    red, green, blue = pixels.split(1, dim=1)
    value = torch.maximum(red, green)
    torch.maximum(value, blue, out=value)
    least = torch.minimum(red, green)
    torch.minimum(least, blue, out=least)
    sextant = (green + blue).sub_(red).add_(value).sub_(least, alpha=2)
    chroma = value.sub_(least)
    sextant.div_(chroma + 1e-20)  # 0 where all is grey
    sextant.copysign_(green - blue)  # -3 to 3
    lacking_all = least.sub_(chroma)

    own = torch.tensor([0.0, 2.0, -2.0], device=pixels.device).view(1, 3, 1, 1)
    turn = (6 * shift - own + 3).remainder_(6) - 3
    # 3 - | |x| - 3 | is the distance from 0 on a circle of 6, for x from -6 to 6
    near = torch.add(sextant, turn, out=pixels).abs_().sub_(3).abs_().clamp_(1, 2)
    turned: Tensor = near.mul_(chroma).add_(lacking_all)  # 1: lacks all, 2: lacks none
    return turned


_JITTERS = (_brightness, _contrast, _saturation, _hue)


def _grey(pixels: Tensor) -> Tensor:
    """(n, 1, h, w) luma of ITU-R 601."""
    red, green, blue = pixels.split(1, dim=1)
    grey: Tensor = 0.2989 * red
    return grey.add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _greyed(pixels: Tensor) -> Tensor:
    return pixels.copy_(_grey(pixels))


def _blur(pixels: Tensor, bands: Tensor) -> Tensor:
    """Gaussian blur of each image by its own weights, (n, block, 2 block).

    Along each axis a product of matrices, block by block: a block of results and the radius on
    both sides of it are two blocks of pixels, and all blocks of an image share their weights.
    Rows of all channels are one long column of blocks; those that span two channels are skipped.
    """
    count, channels, height, width = pixels.shape
    block = bands.shape[1]
    radius = block // 2
    pad = [radius, radius + -width % block, radius, radius + -height % block]
    padded = F.pad(pixels, pad, mode="reflect").flatten(1, 2)  # (n, 3 * rows, columns)
    rows = padded.shape[1] // channels

    blocks = padded.unfold(2, 2 * block, block).transpose(1, 2)  # (n, blocks, 3 * rows, 2 block)
    wide = torch.bmm(blocks.flatten(0, 1), _repeated(bands.mT, blocks.shape[1]))
    wide = wide.view(count, -1, channels * rows, block).transpose(1, 2).flatten(2)

    columns = wide.shape[2]
    blocks = wide.unfold(1, 2 * block, block).transpose(2, 3)  # (n, blocks, 2 block, columns)
    tall = torch.bmm(_repeated(bands, blocks.shape[1]), blocks.flatten(0, 1))
    stride = (tall.numel() // count, rows * columns, columns, 1)
    return tall.as_strided(pixels.shape, stride)


def _repeated(bands: Tensor, times: int) -> Tensor:
    return bands[:, None].expand(-1, times, -1, -1).flatten(0, 1)


def _bands(uniform: Tensor, width: int) -> Tensor:
    """(n, block, 2 block): row i has the weights of a blur, of 2 radius + 1 pixels, from column i.

    From uniform numbers (n,), for images of `width`.
    """
    radius = blur_radius(width)
    low, high = (sigma * width / BLUR_SIZE for sigma in BLUR_SIGMA)
    kernels = _kernels(low + (high - low) * uniform, radius)
    block = 2 * radius
    tap = torch.arange(2 * block) - torch.arange(block)[:, None]
    return kernels[:, tap.clamp(0, block)] * ((tap >= 0) & (tap <= block))


def blur_radius(size: int) -> int:
    """Pixels to each side that a blur of an image of `size` looks at: four of its widest sigmas."""
    return math.ceil(4 * BLUR_SIGMA[1] * size / BLUR_SIZE)


def _kernels(sigma: Tensor, radius: int) -> Tensor:
    """(n, 2 radius + 1) Gaussians that sum to 1."""
    offset = torch.arange(-radius, radius + 1)
    return torch.softmax(-((offset / sigma[:, None]) ** 2) / 2, dim=1)


def _solarize(pixels: Tensor) -> Tensor:
    """1 - x from x = 0.5 on, which is the smaller of the two."""
    return torch.minimum(pixels, 1 - pixels, out=pixels)
