"""Generated pictures of one shape each, whose five attributes are labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pg_platform.config.experiment import Shapes
from pg_platform.config.seeds import stream

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (0.90, 0.15, 0.15),
    "yellow": (0.95, 0.85, 0.15),
    "green": (0.15, 0.70, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.20, 0.30, 0.90),
    "magenta": (0.85, 0.20, 0.80),
}
TEXTURES = ("plain", "stripes", "checks", "dots")
POSITIONS = 9  # a 3 x 3 grid, row by row
RADII = (0.17, 0.24, 0.31)  # of the image's side: small, medium, large

_KINDS = {
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "texture": len(TEXTURES),
    "position": POSITIONS,
    "size": len(RADII),
}
_NUISANCES = 7
_CHUNK = 64  # images drawn at once, which bounds the memory


class Drawing:
    """A set of `data.count` pictures, of which any may be drawn.

    Attributes are uniform and independent. The background, the rotation, a shift of some pixels
    and the shade vary besides and are no labels. A picture is a function of `data.seed`,
    `data.image_size` and its index: a larger count adds pictures and changes none. Whoever
    changes a picture raises SHAPES_DRAWING in identity.py.
    """

    def __init__(self, data: Shapes) -> None:
        self.image_size = data.image_size
        generator = torch.Generator().manual_seed(stream(data.seed, "shapes"))
        width = len(_KINDS) + _NUISANCES
        # one call per picture: the numbers of a longer call need not begin with a shorter one's
        uniform = torch.stack([torch.rand(width, generator=generator) for _ in range(data.count)])
        self.attributes = {
            name: (uniform[:, i] * many).long() for i, (name, many) in enumerate(_KINDS.items())
        }
        self._nuisance = uniform[:, len(_KINDS) :]

    def draw(self, index: Tensor) -> Tensor:
        """The pictures of `index` (n,), as (n, 3, size, size) uint8."""
        pixels = torch.empty(len(index), 3, self.image_size, self.image_size, dtype=torch.uint8)
        for start in range(0, len(index), _CHUNK):
            rows = index[start : start + _CHUNK]
            chosen = {name: values[rows] for name, values in self.attributes.items()}
            pixels[start : start + _CHUNK] = _draw(chosen, self._nuisance[rows], self.image_size)
        return pixels


def _draw(attributes: dict[str, Tensor], nuisance: Tensor, size: int) -> Tensor:
    """(n, 3, size, size) uint8 from attributes (n,) and uniform numbers (n, nuisances)."""
    shift_x, shift_y, turn, shade, grey, slope_x, slope_y = _planes(nuisance - 0.5).unbind(1)
    middle = (torch.arange(size) + 0.5) / size
    x, y = middle[None, None, :], middle[None, :, None]  # of the image's side, from top left

    radius = _planes(torch.tensor(RADII)[attributes["size"]])
    column, row = _planes(attributes["position"] % 3) - 1, _planes(attributes["position"] // 3) - 1
    dx = x - (0.5 + 0.18 * column + 0.04 * shift_x)
    dy = y - (0.5 + 0.18 * row + 0.04 * shift_y)
    cosine, sine = torch.cos(turn * math.pi / 6), torch.sin(turn * math.pi / 6)
    u = (cosine * dx + sine * dy) / radius  # (n, size, size), the shape within 1
    v = (cosine * dy - sine * dx) / radius

    distance = _each(_DISTANCES, attributes["shape"], u, v)
    inside = (0.5 - distance * radius * size).clamp(0, 1)[:, None]  # one pixel of soft edge
    dark = _each(_DARKNESS, attributes["texture"], u, v)[:, None]
    colour = _planes(torch.tensor(list(COLOURS.values()))[attributes["colour"]])
    ground = 0.5 + 0.5 * grey + 0.3 * (slope_x * (x - 0.5) + slope_y * (y - 0.5))
    paint = colour * (1 + 0.3 * shade[:, None]) * (1 - 0.65 * dark)
    picture = ground[:, None] * (1 - inside) + paint * inside
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _planes(values: Tensor) -> Tensor:
    """(..., 1, 1), to be spread over the pixels."""
    return values[..., None, None]


def _each(
    functions: Sequence[Callable[[Tensor, Tensor], Tensor]], kind: Tensor, u: Tensor, v: Tensor
) -> Tensor:
    """`functions[kind]` of each picture's coordinates, (n, size, size)."""
    values = torch.empty_like(u)
    for i, function in enumerate(functions):
        rows = kind == i
        values[rows] = function(u[rows], v[rows])
    return values


def _circle(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 1


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.85


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(v, math.sqrt(0.75) * u.abs() - 0.5 * v) - 0.55


def _cross(u: Tensor, v: Tensor) -> Tensor:
    near, far = torch.minimum(u.abs(), v.abs()), torch.maximum(u.abs(), v.abs())
    return torch.maximum(near - 0.3, far - 1)


def _ring(u: Tensor, v: Tensor) -> Tensor:
    return (torch.hypot(u, v) - 0.75).abs() - 0.25


# signed distances from the edge in radii, negative inside; in the order of SHAPES
_DISTANCES = (_circle, _square, _triangle, _cross, _ring)


def _plain(u: Tensor, _: Tensor) -> Tensor:
    return torch.zeros_like(u)


def _stripes(_: Tensor, v: Tensor) -> Tensor:
    return (0.5 + 2 * _wave(v)).clamp(0, 1)


def _checks(u: Tensor, v: Tensor) -> Tensor:
    return (0.5 + 2 * _wave(u) * _wave(v)).clamp(0, 1)


def _dots(u: Tensor, v: Tensor) -> Tensor:
    return (2 * (_wave(u) + _wave(v)) - 1.3).clamp(0, 1)


# how dark the paint is, 0 to 1; in the order of TEXTURES
_DARKNESS = (_plain, _stripes, _checks, _dots)


def _wave(along: Tensor) -> Tensor:
    return torch.cos(3.5 * math.pi * along)
