"""Crop boxes, cuts and colour changes, against torchvision image by image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from pg_platform.config.experiment import ColorJitter, Crop, ListenerView, SpeakerView, Views
from pg_platform.data.colours import blur_radius
from pg_platform.data.crops import CROP_DRAWS, cut, cut_batch, cut_plain, random_boxes
from pg_platform.data.views import Draws, augment, draw_views, finish, normalize

OFF = SpeakerView(blur=0.0, solarize=0.0)
ALL_OFF = Views(flip=0.0, color_jitter=None, grayscale=0.0)


def images(count: int, size: int) -> Tensor:
    """Random pixels; some images are grey and some have equal channels in places."""
    pixels = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    pixels[::5] = pixels[::5, :1]
    pixels[1::5] = (pixels[1::5] * 3).round() / 3
    return pixels


def boxes_of(height: int, width: int, crop: Crop, seed: int, count: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, CROP_DRAWS, generator=generator)
    return random_boxes(
        uniform, crop, torch.tensor([height] * count), torch.tensor([width] * count)
    )


@st.composite
def crops(draw: st.DrawFn) -> Crop:
    low, high = sorted(draw(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1))))
    narrow, wide = sorted(draw(st.tuples(st.floats(0.3, 3), st.floats(0.3, 3))))
    return Crop(scale=(low, high), ratio=(narrow, wide))


@given(st.integers(1, 300), st.integers(1, 300), crops(), st.integers(0, 2**32))
@settings(deadline=None)
def test_boxes_lie_inside_the_image(height: int, width: int, crop: Crop, seed: int) -> None:
    top, left, tall, wide = boxes_of(height, width, crop, seed).unbind(1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (tall >= 1).all()
    assert (wide >= 1).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()


@given(st.integers(100, 300), st.integers(100, 300), st.integers(0, 2**32))
@settings(deadline=None)
def test_area_and_ratio_are_in_their_ranges(height: int, width: int, seed: int) -> None:
    crop = Crop(scale=(0.1, 0.3), ratio=(0.7, 1.5))  # always fits an image of these sizes
    box = boxes_of(height, width, crop, seed).double()
    low, high = (box[:, 2:] - 0.5).prod(1), (box[:, 2:] + 0.5).prod(1)  # what was rounded
    assert (high >= 0.1 * height * width).all()
    assert (low <= 0.3 * height * width).all()
    assert ((box[:, 3] + 0.5) / (box[:, 2] - 0.5) >= 0.7).all()
    assert ((box[:, 3] - 0.5) / (box[:, 2] + 0.5) <= 1.5).all()


def test_boxes_are_distributed_as_torchvision_draws_them() -> None:
    count = 4000
    ours = boxes_of(60, 100, Crop(), seed=0, count=count).double()
    torch.manual_seed(0)
    law = RandomResizedCrop(8, scale=(0.14, 1.0), ratio=(0.75, 4 / 3))
    drawn = [law.make_params([torch.zeros(3, 60, 100)]) for _ in range(count)]
    names = ("top", "left", "height", "width")
    theirs = torch.tensor([[box[name] for name in names] for box in drawn]).double()
    error = ours.std(0) * math.sqrt(2 / count)
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 4 * error).all()
    assert (ours.std(0) / theirs.std(0) - 1).abs().max() < 0.05


def test_a_box_can_touch_every_edge() -> None:
    for corner in (0.0, 1 - 2**-24):
        uniform = torch.full((1, CROP_DRAWS), 0.5)
        uniform[:, -2:] = corner
        ((top, left, height, width),) = random_boxes(
            uniform, Crop(), torch.tensor([30]), torch.tensor([40])
        ).tolist()
        assert (top, left) == ((0, 0) if corner == 0 else (30 - height, 40 - width))


def test_a_ratio_is_as_often_tall_as_wide() -> None:
    crop = Crop(scale=(0.01, 0.01), ratio=(0.125, 8.0))
    box = boxes_of(1000, 1000, crop, seed=0, count=2000)
    assert (box[:, 3] > box[:, 2]).double().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("height", "width"), [(10, 200), (200, 10), (7, 20), (30, 31)])
def test_where_nothing_fits_the_middle_is_cut_as_torchvision_does(height: int, width: int) -> None:
    crop = Crop(scale=(1.0, 1.0), ratio=(0.5, 0.9) if width > height else (1.1, 2.0))
    law = RandomResizedCrop(8, scale=crop.scale, ratio=crop.ratio)
    theirs = law.make_params([torch.zeros(3, height, width)])
    expected = [theirs[name] for name in ("top", "left", "height", "width")]
    assert boxes_of(height, width, crop, seed=3, count=1)[0].tolist() == expected


@pytest.mark.parametrize(("source", "size"), [((8, 8), 28), ((40, 56), 24), ((32, 32), 32)])
def test_a_batch_is_cut_as_torchvision_cuts_each_image(source: tuple[int, int], size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 3, *source), dtype=torch.uint8, generator=generator)
    boxes = boxes_of(*source, Crop(), seed=4, count=16)
    ours = cut_batch(pixels, boxes, size)
    for image, box, view in zip(pixels, boxes.tolist(), ours, strict=True):
        expected = F.resized_crop(
            image.float() / 255, *box, [size, size], InterpolationMode.BICUBIC, antialias=True
        ).clamp(0, 1)
        torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


def test_one_image_is_cut_on_the_host_as_a_batch_is_on_the_device() -> None:
    generator = torch.Generator().manual_seed(0)
    # of little contrast, as between its two passes the host cuts off what is beyond 0 and 255
    pixels = torch.randint(90, 160, (8, 3, 30, 20), dtype=torch.uint8, generator=generator)
    boxes = boxes_of(30, 20, Crop(), seed=5, count=8)
    host = torch.stack([cut(image, box, 16) for image, box in zip(pixels, boxes, strict=True)])
    assert host.dtype == torch.uint8
    assert (host / 255 - cut_batch(pixels, boxes, 16)).abs().max() < 1.5 / 255


def test_the_plain_view_is_the_middle_of_the_photo() -> None:
    photo = torch.zeros(3, 64, 128, dtype=torch.uint8)
    photo[0, :, 36:92] = 255  # the middle 56 of 64 x 64, which 28 pixels show
    plain = cut_plain(photo, 28)
    assert plain.shape == (3, 28, 28)
    assert plain[0].float().mean() > 250
    assert (plain[1:] == 0).all()


VIEWS = {
    "flip": Views(flip=0.5, color_jitter=None, grayscale=0.0),
    "grayscale": ALL_OFF.model_copy(update={"grayscale": 0.5}),
    "all": Views(),
    "strong": Views(
        color_jitter=ColorJitter(brightness=1.5, contrast=1.5, saturation=1.5, hue=0.5)
    ),
} | {
    name: ALL_OFF.model_copy(
        update={
            "color_jitter": ColorJitter(
                **{"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, name: 0.4}
            )
        }
    )
    for name in ("brightness", "contrast", "saturation", "hue")
}


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize(
    "own",
    [OFF, SpeakerView(blur=0.5, solarize=0.0), ListenerView(blur=0.0, solarize=0.5), SpeakerView()],
    ids=["plain", "blur", "solarize", "speaker"],
)
@pytest.mark.parametrize("together", [1, 30], ids=["one by one", "at once"])
def test_colours_change_as_torchvision_changes_each_image(
    views: Views, own: SpeakerView | ListenerView, together: int
) -> None:
    pixels = images(30, 40)
    for seed in range(3):
        draws = draw_views(seed, len(pixels))[0]
        ours = augment(pixels, draws, views, own, together)
        for i, view in enumerate(ours):
            expected = one_by_one(pixels[i], draws, i, views, own)
            torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


def one_by_one(
    image: Tensor, draws: Draws, i: int, views: Views, own: SpeakerView | ListenerView
) -> Tensor:
    """What torchvision makes of one image (3, h, w) with the numbers of row `i`."""
    flip, jitter, *factors, grey, blur, sigma, solarize = draws.colour[i].tolist()
    if flip < views.flip:
        image = F.horizontal_flip(image)
    if views.color_jitter is not None and jitter < views.color_jitter.probability:
        image = jittered(image, views.color_jitter, factors, draws.order[i].tolist())
    if grey < views.grayscale:
        image = F.rgb_to_grayscale(image, 3)
    if blur < own.blur:
        taps = 2 * blur_radius(image.shape[-1]) + 1
        width = (0.1 + 1.9 * sigma) * image.shape[-1] / 224
        image = F.gaussian_blur(image, [taps, taps], [width, width])
    if solarize < own.solarize:
        image = F.solarize(image, 0.5)
    return image


def jittered(
    image: Tensor, strength: ColorJitter, uniform: list[float], order: list[int]
) -> Tensor:
    around_one = [strength.brightness, strength.contrast, strength.saturation]
    bounds = [(max(0.0, 1 - s), 1 + s) for s in around_one] + [(-strength.hue, strength.hue)]
    changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for operation in order:
        low, high = bounds[operation]
        image = changes[operation](image, low + (high - low) * uniform[operation])
    return image


def test_what_is_switched_off_changes_nothing() -> None:
    pixels = images(8, 12)
    assert torch.equal(augment(pixels, draw_views(0, 8)[0], ALL_OFF, OFF), pixels)


def test_the_images_that_come_in_stay_as_they_are() -> None:
    pixels = images(8, 12)
    before = pixels.clone()
    augment(pixels, draw_views(0, 8)[0], Views(), SpeakerView(solarize=0.5))
    assert torch.equal(pixels, before)


def test_bytes_change_as_floats_do_and_end_normalised() -> None:
    pixels = (images(8, 12) * 255).byte()
    draws = draw_views(0, 8)[1]
    expected = augment(pixels / 255, draws, Views(), ListenerView())
    torch.testing.assert_close(augment(pixels, draws, Views(), ListenerView()), expected)
    finished = finish(pixels, draws, Views(), ListenerView())
    torch.testing.assert_close(finished, normalize(expected))


def test_a_blur_is_as_wide_for_the_eye_at_every_size() -> None:
    """Its radius grows with the image, and four of the widest sigmas lie within."""
    assert blur_radius(224) == 8
    assert blur_radius(112) == 4
    assert blur_radius(28) == 1


def test_agents_and_images_see_different_numbers() -> None:
    speaker, listener = draw_views(0, 4)
    assert not torch.equal(speaker.colour, listener.colour)
    assert not torch.equal(speaker.crop, listener.crop)
    assert len({tuple(row) for row in speaker.crop.tolist()}) == 4


def test_all_orders_of_the_jitter_occur() -> None:
    assert len({tuple(order) for order in draw_views(0, 300)[0].order.tolist()}) == 24


def test_a_share_of_the_numbers_is_the_rows_of_all() -> None:
    for whole, share in zip(draw_views(0, 8), draw_views(0, 8, slice(2, 5)), strict=True):
        assert torch.equal(share.colour, whole.colour[2:5])
        assert torch.equal(share.crop, whole.crop[2:5])
        assert torch.equal(share.order, whole.order[2:5])


def test_pixels_are_normalised_by_imagenet() -> None:
    pixels = images(4, 6)
    expected = F.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(normalize(pixels), expected)
