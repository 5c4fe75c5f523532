"""Training end to end: from JPEGs and packs with loader processes, and wholly on the card."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from torchvision.io import write_jpeg
from torchvision.transforms.v2 import functional as F

from benchmarks.gpu.figures import Sheet, each, forget_peak, peak_gib, wait
from benchmarks.gpu.settings import IMAGENET_JPEG, PAPER_PATCH, PAPER_SIDE, SMALL, SMALL_SIZES
from pg_platform.config.experiment import Experiment, Shapes
from pg_platform.config.paths import RECIPES
from pg_platform.data.images import open_images
from pg_platform.data.packing import write_pack
from pg_platform.sweep.load import load_experiment
from pg_platform.training.checkpoint import Progress
from pg_platform.training.learner import Learner
from pg_platform.training.worker import Worker

PROCESSES = (0, 8, 16)
WARM_UP = 3
QUALITY = 90


def reading(sheet: Sheet) -> None:
    """The recipe photos from the disk of this machine, the files in its page cache."""
    count = 64 if sheet.small else 2048
    photos = sheet.scratch / "photos"
    made = {"JPEGs": partial(_write_photos, sheet, photos, count)}
    each(sheet, made)
    each(sheet, {"a pack of them": partial(_write_pack, sheet, photos, sheet.scratch / "pack")})
    for processes in (0, 2) if sheet.small else PROCESSES:
        for kind, place in (("image_folder", photos), ("packed", sheet.scratch / "pack")):
            name = f"{kind}, {processes} loader processes"
            data = f"{{kind: {kind}, path: '{place}', image_size: {_side(sheet)}}}"
            given = (f"data={data}", f"data.loader_processes={processes}")
            each(sheet, {name: partial(_end_to_end, sheet, name, given)}, wants=sheet.wants(5.0))


def on_card(sheet: Sheet) -> None:
    """CIFAR-10's shape: 32 pixels, the whole set in the card's memory."""
    count = 400 if sheet.small else 50_000
    batch = 64 if sheet.small else 512
    data = f"data={{kind: shapes, image_size: 32, count: {count}, val_fraction: 0.2}}"
    shrunk = SMALL_SIZES if sheet.small else ("speaker.patch_size=8", "validation.pool_size=64")
    sizes = (*shrunk, data, f"batch_size={batch}")
    for recipe in ("photos", "paper"):
        asked = load_experiment(RECIPES / f"{recipe}.yaml", sizes)
        name = f"{recipe}, {count:,} images of 32 px on the device, B = {batch}"
        each(sheet, {name: partial(_trained, sheet, name, asked)}, wants=sheet.wants(5.0))
    for size in (64, batch):
        for recorded, words in (("true", ""), ("false", ", kernel by kernel")):
            changes = (data, f"batch_size={size}", "precision=auto")
            asked = load_experiment(SMALL, (*changes, f"resources.cuda_graph={recorded}"))
            name = f"small networks, {count:,} images of 32 px on the device, B = {size}{words}"
            each(sheet, {name: partial(_trained, sheet, name, asked)}, wants=sheet.wants(4.0))


def _write_photos(sheet: Sheet, folder: Path, count: int) -> None:
    """JPEGs of ImageNet's mean size: generated pictures, enlarged, under noise as photos have."""
    pictures = open_images(Shapes(kind="shapes", image_size=128, count=64), "train")
    assert isinstance(pictures.pixels, torch.Tensor), "generated pictures are held in memory"
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    for number in range(count):
        small = pictures.pixels[number % len(pictures)]
        photo = F.resize(small, list(IMAGENET_JPEG), antialias=True).float()
        photo += 12 * torch.randn(photo.shape, generator=generator)
        part = folder / ("val" if number % 4 == 0 else "train") / f"class{number % 3}"
        part.mkdir(parents=True, exist_ok=True)
        file = part / f"{number:05}.jpg"
        write_jpeg(photo.clamp(0, 255).to(torch.uint8), str(file), QUALITY)
    size = sum(file.stat().st_size for file in folder.rglob("*.jpg")) / count
    taken = time.perf_counter() - started
    sheet.note("JPEGs", f"{count} of {size / 1024:.0f} KiB on average, made in {taken:.1f} s")


def _write_pack(sheet: Sheet, photos: Path, pack: Path) -> None:
    text = f"data={{kind: image_folder, path: '{photos}', image_size: {_side(sheet)}}}"
    source = load_experiment(SMALL, (text,)).data
    started = time.perf_counter()
    count = write_pack(source, pack, 1024, lambda _: None)
    sheet.figure("making the pack", count / (time.perf_counter() - started), "images/s", n=1)


def _end_to_end(sheet: Sheet, name: str, given: tuple[str, ...]) -> None:
    """The recipe photos at the paper's size; on a CPU small networks, to try the kit itself."""
    sizes: tuple[str, ...] = (
        "batch_size=256",
        f"speaker.patch_size={PAPER_PATCH}",
        "validation.pool_size=8",
    )
    if sheet.small:
        sizes = (*SMALL_SIZES, "batch_size=16", "validation.pool_size=8")
    _trained(sheet, name, load_experiment(RECIPES / "photos.yaml", (*sizes, *given)))


def _side(sheet: Sheet) -> int:
    return 64 if sheet.small else PAPER_SIDE


def _trained(sheet: Sheet, name: str, experiment: Experiment) -> None:
    """Whole training steps for some seconds: images/s and the share of time waiting for data."""
    learner, progress = Learner(experiment, Worker(sheet.device)), Progress()
    forget_peak(sheet.device)
    taken, seconds = 0, 0.6 if sheet.small else 3.0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or taken <= WARM_UP:
        for batch in learner.batches(progress):
            learner.step(batch, progress)
            taken += 1
            if taken == WARM_UP:
                wait(sheet.device)
                learner.waited = learner.worked = 0.0
                started = time.perf_counter()
            if taken > WARM_UP and time.perf_counter() - started >= seconds:
                break
        progress.step = progress.epoch = 0
    wait(sheet.device)
    lasted = time.perf_counter() - started
    images = (taken - WARM_UP) * experiment.batch_size
    sheet.figure(name, images / lasted, "images/s", n=taken - WARM_UP)
    sheet.figure(f"{name}: waiting for data", learner.waited / lasted, "of 1")
    if not sheet.small:
        sheet.figure(f"{name}: memory", peak_gib(sheet.device), "GiB")
