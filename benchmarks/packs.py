"""A pack against the folder it was made from: images/s of one thread, page cache warm.

`python -m benchmarks.packs [--quick] [--size W H]`: JPEGs of that size cut from scikit-learn's
two sample photos. The images alone, which the ratio is about; two views of each with crops only;
and with every augmentation.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.interleaved import medians, verdict
from pg_platform.config.experiment import (
    Data,
    Experiment,
    ImageFolder,
    ListenerView,
    Packed,
    SpeakerView,
    Views,
)
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import GameLoader, Share
from pg_platform.data.packing import write_pack

BATCH = 32
VIEWS = {
    "crops only": Views(
        flip=0.0,
        color_jitter=None,
        grayscale=0.0,
        speaker=SpeakerView(blur=0.0),
        listener=ListenerView(blur=0.0, solarize=0.0),
    ),
    "all changes": Views(),
}


def main() -> None:
    """Print images/s of both kinds of data, then the ratio for the images alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375))
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        folder = ImageFolder(kind="image_folder", path=f"{home}/photos")
        pack = Packed(kind="packed", path=f"{home}/pack")
        _write_photos(Path(home), 2 * BATCH if given.quick else 8 * BATCH, tuple(given.size))
        write_pack(folder, Path(pack.path), 1024, lambda _: None)
        ratio = _compare("images alone", folder, pack, _all_images)
        for name, views in VIEWS.items():
            _compare(name, folder, pack, partial(_epoch, views))
    print(verdict("packs", ratio, ">= 5"))


def _compare(name: str, folder: Data, pack: Data, call: Callable[[Images, Data], object]) -> float:
    """Print the images/s that `call` reaches on both; how much faster it is on the pack."""
    opened = {data.kind: (open_images(data, "train"), data) for data in (folder, pack)}
    calls: dict[str, Callable[[], object]] = {
        kind: partial(call, images, data) for kind, (images, data) in opened.items()
    }
    seconds = medians(calls, 7)
    for kind, (images, _) in opened.items():
        print(f"{name:>12} {kind:>12}: {len(images) / seconds[kind]:.0f} images/s")
    return seconds[folder.kind] / seconds[pack.kind]


def _all_images(images: Images, _: Data) -> None:
    assert not isinstance(images.pixels, torch.Tensor)
    for position in range(len(images)):
        images.pixels.image(position)


def _epoch(views: Views, images: Images, data: Data) -> None:
    experiment = Experiment(batch_size=BATCH, data=data, views=views)
    for _ in GameLoader(images, experiment, Share(), torch.device("cpu")).epoch(0):
        pass


def _write_photos(home: Path, count: int, size: tuple[int, int]) -> None:
    """Different parts of the photos, as JPEGs of quality 90; `val` has one of them."""
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for number in range(count + 1):
        part = home / "photos" / ("val" if number == count else "train") / "photo"
        part.mkdir(parents=True, exist_ok=True)
        photo = photos[number % 2]
        left, top = (int(rng.integers(0, side // 5)) for side in photo.size)
        box = (left, top, left + photo.width * 4 // 5, top + photo.height * 4 // 5)
        photo.resize(size, box=box).save(part / f"{number:04}.jpg", quality=90)


if __name__ == "__main__":
    main()
