"""What a view does to the colours of some images, (n, 3, h, w) in [0, 1], by numbers given.

Each may write into the pixels that it is given, so that few of them are in the cache at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pg_platform.data.upload import constant

BLUR_SIGMA = (0.1, 2.0)
"""Standard deviation of the blur in pixels of an image of BLUR_SIZE; it scales with the image."""

BLUR_SIZE = 224


def brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Towards black, or away from it, by `factor` (n, 1, 1, 1), as the next two."""
    return pixels.mul_(factor).clamp_(0, 1)


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Towards the mean of the grey image, or away from it."""
    mean = _grey(pixels.mean(dim=(2, 3), keepdim=True))  # the mean of the grey image
    return pixels.mul_(factor).add_(mean * (1 - factor)).clamp_(0, 1)


def saturation(pixels: Tensor, factor: Tensor) -> Tensor:
    """Towards the grey image, or away from it."""
    grey = _grey(pixels).mul_(1 - factor)
    return pixels.mul_(factor).add_(grey).clamp_(0, 1)


def hue(pixels: Tensor, shift: Tensor) -> Tensor:
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

    own = constant((0.0, 2.0, -2.0), pixels.device).view(1, 3, 1, 1)
    turn = (6 * shift - own + 3).remainder_(6) - 3
    # 3 - | |x| - 3 | is the distance from 0 on a circle of 6, for x from -6 to 6
    near = torch.add(sextant, turn, out=pixels).abs_().sub_(3).abs_().clamp_(1, 2)
    turned: Tensor = near.mul_(chroma).add_(lacking_all)  # 1: lacks all, 2: lacks none
    return turned


def _grey(pixels: Tensor) -> Tensor:
    """(n, 1, h, w) luma of ITU-R 601."""
    red, green, blue = pixels.split(1, dim=1)
    grey: Tensor = 0.2989 * red
    return grey.add_(green, alpha=0.587).add_(blue, alpha=0.114)


def greyed(pixels: Tensor) -> Tensor:
    """The luma in all three channels."""
    return pixels.copy_(_grey(pixels))


def blur(pixels: Tensor, bands: Tensor) -> Tensor:
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


def blur_weights(uniform: Tensor, width: int) -> Tensor:
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


def solarize(pixels: Tensor) -> Tensor:
    """1 - x from x = 0.5 on, which is the smaller of the two."""
    return torch.minimum(pixels, 1 - pixels, out=pixels)


JITTERS = (brightness, contrast, saturation, hue)
