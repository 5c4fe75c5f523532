"""Two random views of each image: what is drawn for them, and how colours change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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
    order: tuple[int, ...]  # of brightness, contrast, saturation, hue


def draw_views(seed: int, images: int, rows: slice = slice(None)) -> tuple[Draws, Draws]:
    """The numbers of the speaker's and the listener's view, for `rows` of `images` images."""
    generator = torch.Generator().manual_seed(seed)
    return _draw(generator, images, rows), _draw(generator, images, rows)


def _draw(generator: torch.Generator, images: int, rows: slice) -> Draws:
    uniform = torch.rand(images, CROP_DRAWS + _COLOUR_DRAWS, generator=generator)[rows]
    order = torch.randperm(4, generator=generator).tolist()
    return Draws(uniform[:, :CROP_DRAWS], uniform[:, CROP_DRAWS:], tuple(order))


def augment(pixels: Tensor, draws: Draws, views: Views, own: SpeakerView | ListenerView) -> Tensor:
    """Flip, jitter, grey, blur and solarise (n, 3, h, w) in [0, 1], each image by its own draws.

    `own` are the probabilities that only this agent's view has. Whether an image is changed is
    known on the host, so only those that are go through an operation, and no device is waited
    for.
    """
    flip, jitter, *factors, grey, blur, sigma, solarize = draws.colour.unbind(1)
    pixels = _some(pixels, flip < views.flip, lambda chosen, _: chosen.flip(3))
    if (strengths := views.color_jitter) is not None:
        changes = _jitter_factors(torch.stack(factors), strengths)
        pixels = _some(
            pixels,
            jitter < strengths.probability,
            lambda chosen, rows: _jitter(chosen, changes[:, rows], draws.order),
        )
    pixels = _some(
        pixels, grey < views.grayscale, lambda chosen, _: _grey(chosen).expand(chosen.shape)
    )
    pixels = _some(pixels, blur < own.blur, lambda chosen, rows: _blur(chosen, sigma[rows]))
    return _some(pixels, solarize < own.solarize, lambda chosen, _: _solarize(chosen))


def normalize(pixels: Tensor) -> Tensor:
    """(n, 3, h, w) in [0, 1] to mean 0 and standard deviation 1 over ImageNet."""
    mean = torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    normalized: Tensor = (pixels - mean) / std
    return normalized


def _some(pixels: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`pixels` with `change(pixels[rows], rows)` in the rows that `chosen` (n,) marks."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return pixels
    if len(rows) == len(pixels):
        return change(pixels, rows)
    there = rows.to(pixels.device)
    return pixels.index_copy(0, there, change(pixels[there], rows))


def _jitter_factors(uniform: Tensor, strengths: ColorJitter) -> Tensor:
    """(4, n) factors as torchvision's ColorJitter draws them, from uniform numbers."""
    around_one = [strengths.brightness, strengths.contrast, strengths.saturation]
    low = torch.tensor([max(0.0, 1 - width) for width in around_one] + [-strengths.hue])[:, None]
    high = torch.tensor([1 + width for width in around_one] + [strengths.hue])[:, None]
    return low + (high - low) * uniform


def _jitter(pixels: Tensor, factors: Tensor, order: tuple[int, ...]) -> Tensor:
    for operation in order:
        factor = factors[operation].to(pixels.device).view(-1, 1, 1, 1)
        pixels = _JITTERS[operation](pixels, factor)
    return pixels


def _brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    return (pixels * factor).clamp(0, 1)


def _contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(pixels).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, pixels, factor).clamp(0, 1)


def _saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(pixels), pixels, factor).clamp(0, 1)


def _hue(pixels: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` (n, 1, 1, 1) of a whole turn; value and saturation stay."""
    red, green, blue = pixels.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # products with 0 and 1, as torch.where costs ten times as much on the CPU
    reddest = (value == red).float()
    greenest = (value == green).float() * (1 - reddest)
    bluest = 1 - reddest - greenest
    away = reddest * (green - blue) + greenest * (blue - red) + bluest * (red - green)
    sextant = away / chroma.clamp(min=1e-20) + 2 * greenest + 4 * bluest  # 0 where all is grey
    # a channel has all of `chroma` within a sextant of its own hue, and none from two sextants on
    own = torch.tensor([5.0, 3.0, 1.0], device=pixels.device).view(1, 3, 1, 1)
    turned = own + (sextant[:, None] + 6 * shift)
    turned = turned - 6 * (turned / 6).floor()
    return value[:, None] - chroma[:, None] * (2 - (turned - 2).abs()).clamp(0, 1)


_JITTERS = (_brightness, _contrast, _saturation, _hue)


def _grey(pixels: Tensor) -> Tensor:
    """(n, 1, h, w) luma of ITU-R 601."""
    red, green, blue = pixels.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]


def _blur(pixels: Tensor, uniform: Tensor) -> Tensor:
    """Gaussian blur of each image by its own width, from uniform numbers (n,)."""
    count, channels, height, width = pixels.shape
    scale = width / BLUR_SIZE
    low, high = (sigma * scale for sigma in BLUR_SIGMA)
    kernel = _kernels(low + (high - low) * uniform, blur_radius(width)).to(pixels.device)
    kernel = kernel.repeat_interleave(channels, dim=0)[:, None, None]  # (n * 3, 1, 1, taps)
    pad = [blur_radius(width)] * 4
    flat = F.pad(pixels, pad, mode="reflect").flatten(0, 1)[None]
    flat = F.conv2d(flat, kernel, groups=count * channels)
    flat = F.conv2d(flat, kernel.mT, groups=count * channels)
    return flat.view(count, channels, height, width)


def blur_radius(size: int) -> int:
    """Pixels to each side that a blur of an image of `size` looks at: four of its widest sigmas."""
    return math.ceil(4 * BLUR_SIGMA[1] * size / BLUR_SIZE)


def _kernels(sigma: Tensor, radius: int) -> Tensor:
    """(n, 2 radius + 1) Gaussians that sum to 1."""
    offset = torch.arange(-radius, radius + 1)
    return torch.softmax(-((offset / sigma[:, None]) ** 2) / 2, dim=1)


def _solarize(pixels: Tensor) -> Tensor:
    """1 - x from x = 0.5 on, which is the smaller of the two."""
    return torch.minimum(pixels, 1 - pixels)
