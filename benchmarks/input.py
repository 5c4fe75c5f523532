"""Two-view images a second on one thread: the loader against transforms image by image.

    python -m benchmarks.input [--quick] [--images FOLDER]

The baseline is what the authors use: PIL and torchvision's transforms, one image and one view at
a time. Ours is told three ways. `loader`: the real one, from files on disk to a normalised batch,
all on this thread. `host`: what a thread of the host does where the colours are changed on a GPU,
from files to two uint8 views of each image. `host, pack`: the same from a pack. The last line is
about `host`. FOLDER holds train/CLASS/IMAGE; without it, 500 x 375 JPEGs are made from
scikit-learn's sample images.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count, cycle, islice
from pathlib import Path

import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision import transforms

from benchmarks.interleaved import medians, verdict
from pg_platform.config.experiment import (
    Experiment,
    ImageFolder,
    Packed,
    Speaker,
    Validation,
    Views,
)
from pg_platform.data.crops import CROP_DRAWS, Cuts, cut, random_boxes
from pg_platform.data.decoding import Decoder, decode
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import GameLoader, Share
from pg_platform.data.packing import write_pack
from pg_platform.data.views import MEAN, STD, Draws, draw_views, finish

BATCH = 32
SIZE = 224
MADE = 64
CPU = torch.device("cpu")

Transform = Callable[[Image.Image], Tensor]


def main() -> None:
    """Print both speeds, where the loader's time goes, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--images", type=Path, help="a folder with train/CLASS/IMAGE")
    chosen = parser.parse_args()
    if chosen.images and not any((chosen.images / "train").glob("*/*")):
        parser.error(
            f"--images: no file in {chosen.images}/train/CLASS; give the folder above train"
        )
    torch.set_num_threads(1)
    repeats = 5 if chosen.quick else 15
    made = nullcontext(str(chosen.images)) if chosen.images else tempfile.TemporaryDirectory()
    with made as folder:
        if chosen.images is None:
            _make_images(Path(folder) / "train" / "sample")
        _compare(folder, repeats)


def _compare(folder: str, repeats: int) -> None:
    images = open_images(_folder(folder), "train")
    with tempfile.TemporaryDirectory() as pack:
        write_pack(_folder(folder), Path(pack) / "pack", 1024, lambda _: None)
        packed = open_images(_pack(f"{pack}/pack"), "train")
        _print_speeds(folder, images, packed, repeats)


def _print_speeds(folder: str, images: Images, packed: Images, repeats: int) -> None:
    batches = _batches(GameLoader(images, _experiment(), Share(), torch.device("cpu")))
    host, from_pack = _host(images), _host(packed)
    files = cycle(sorted(path for path in (Path(folder) / "train").rglob("*") if path.is_file()))
    views = (_transform(blur=1.0, solarize=0.0), _transform(blur=0.1, solarize=0.2))
    seconds = medians(
        {
            "loader": lambda: next(batches),
            "host": lambda: next(host),
            "host, pack": lambda: next(from_pack),
            "image by image": lambda: _image_by_image(list(islice(files, BATCH)), views),
        },
        repeats,
    )
    baseline = seconds["image by image"]
    for name, one in seconds.items():
        print(
            f"{name:>14}: {BATCH / one:7.1f} two-view images/s, {1e3 * one / BATCH:.2f} ms each, "
            f"ratio {baseline / one:.2f}"
        )
    _print_stages(list(islice(files, BATCH)), repeats)
    print(verdict("input", baseline / seconds["host"], ">= 10"))


def _folder(path: str) -> ImageFolder:
    return ImageFolder(kind="image_folder", path=path, image_size=SIZE, val_fraction=0.1)


def _pack(path: str) -> Packed:
    return Packed(kind="packed", path=path, image_size=SIZE, val_fraction=0.1)


def _experiment() -> Experiment:
    return Experiment(
        batch_size=BATCH,
        data=_folder("of images that are opened already"),
        speaker=Speaker(patch_size=32),
        validation=Validation(pool_size=2),
    )


def _host(images: Images) -> Iterator[object]:
    """Two uint8 views of batch after batch, as the loader gives them to a device."""
    assert not isinstance(images.pixels, Tensor)
    decoder = Decoder(images, images.pixels, Views().crop, SIZE)
    order = torch.randperm(len(images))
    for step in count():
        rows = order.roll(-step * BATCH)[:BATCH]
        yield next(decoder.views([Cuts(rows, torch.rand(2, BATCH, CROP_DRAWS))], CPU))


def _batches(loader: GameLoader) -> Iterator[object]:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def _transform(blur: float, solarize: float) -> Transform:
    """One view by torchvision; the probabilities are those that the agents do not share."""
    jitter = transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)
    cubic = transforms.InterpolationMode.BICUBIC
    composed: Transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, scale=(0.14, 1.0), interpolation=cubic),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([jitter], 0.8),
            transforms.RandomGrayscale(0.2),
            transforms.RandomApply([transforms.Lambda(_pil_blur)], blur),
            transforms.RandomSolarize(128, solarize),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return composed


def _pil_blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def _image_by_image(files: list[Path], views: tuple[Transform, ...]) -> list[Tensor]:
    originals = [Image.open(file).convert("RGB") for file in files]
    return [torch.stack([view(image) for image in originals]) for view in views]


def _print_stages(files: list[Path], repeats: int) -> None:
    """The loader's work on one batch, in parts; what is left is reading and putting together."""
    encoded = [file.read_bytes() for file in files]
    originals = [decode(data) for data in encoded]
    draws = draw_views(0, len(files))
    views = [_cut(originals, own) for own in draws]
    seconds = medians(
        {
            "decode": lambda: [decode(data) for data in encoded],
            "cut": lambda: [_cut(originals, own) for own in draws],
            "augment + normalize": lambda: _finish(views, draws),
        },
        repeats,
    )
    for name, one in seconds.items():
        print(f"  {name:<20} {1e3 * one / len(files):6.2f} ms for both views of an image")


def _cut(originals: list[Tensor], draws: Draws) -> Tensor:
    law = Views().crop
    assert law is not None, "the default views are cut at random"
    heights, widths = torch.tensor([image.shape[1:] for image in originals]).T
    boxes = random_boxes(draws.crop, law, heights, widths)
    return torch.stack([cut(image, box, SIZE) for image, box in zip(originals, boxes, strict=True)])


def _finish(views: list[Tensor], draws: tuple[Draws, Draws]) -> tuple[Tensor, Tensor]:
    law = Views()
    return (
        finish(views[0], draws[0], law, law.speaker),
        finish(views[1], draws[1], law, law.listener),
    )


def _make_images(folder: Path) -> None:
    """JPEGs of the mean size on ImageNet, 500 x 375, cut from two photos of 640 x 427."""
    folder.mkdir(parents=True)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for i in range(MADE):
        left, top = i * 140 // MADE, i * 52 // MADE
        part = photos[i % 2].crop((left, top, left + 500, top + 375))
        part.save(folder / f"{i:03}.jpg", quality=90)


if __name__ == "__main__":
    main()
