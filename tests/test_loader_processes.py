"""Processes that decode and die, hang, or find no shared memory: who waits for them is told."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from pathlib import Path

import pytest
import torch

from pg_platform.config.experiment import Crop, ImageFolder
from pg_platform.data.crops import CROP_DRAWS, Cuts
from pg_platform.data.decoding import Decoder
from pg_platform.data.images import FolderFiles, open_images
from pg_platform.data.loader_processes import LoaderLostError, shared_bytes
from tests.blocked import BlockedImage, with_data
from tests.commands import BIN
from tests.pictures import write_folder
from tests.small import environment, write_experiment

CPU = torch.device("cpu")


def waiting_for(blocked: BlockedImage, patience: float) -> None:
    """Decode all images of the folder, in order."""
    images = open_images(ImageFolder.model_validate(blocked.data), "train")
    assert isinstance(images.pixels, FolderFiles)
    cuts = Cuts(torch.arange(len(images)), torch.rand(2, len(images), CROP_DRAWS))
    list(Decoder(images, images.pixels, Crop(), 16, patience).views([cuts], CPU))


def test_a_loader_process_that_hangs_is_waited_for_with_a_limit(tmp_path: Path) -> None:
    blocked = BlockedImage(tmp_path)
    with pytest.raises(LoaderLostError, match="given nothing for 1 s"):
        waiting_for(blocked, patience=1)
    assert not multiprocessing.active_children()


def test_a_slow_loader_process_is_waited_for(tmp_path: Path) -> None:
    """Longer than it takes to look whether the processes live."""
    blocked = BlockedImage(tmp_path)
    late = f"sleep 5; cat {blocked.kept} > {blocked.path}"  # what is tested is a wait
    writer = subprocess.Popen(["sh", "-c", late])
    waiting_for(blocked, patience=60)
    assert writer.wait(timeout=10) == 0


def on_a_small_shared_memory(
    folder: Path, size: str, taken: int = 0
) -> subprocess.CompletedProcess[str]:
    """pg-train with loader processes and views of 64 px, where /dev/shm is a disk of its own."""
    write_folder(folder / "images" / "train", 256)
    write_folder(folder / "images" / "val", 70)
    data = {"kind": "image_folder", "path": str(folder / "images"), "image_size": 64}
    data |= {"loader_processes": 2}
    small = {"batch_size": 256, "epochs": 1, "speaker": {"patch_size": 32}}
    file = with_data(write_experiment(folder, small), data)
    mounted = f"mount -t tmpfs -o size={size} small /dev/shm"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], check=False).returncode:
        pytest.skip("this machine lets no test mount a disk of its own")
    fill = f"head -c {taken} /dev/zero > /dev/shm/taken"
    command = f"{mounted} && {fill} && exec {BIN / 'pg-train'} {file} --local"
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", command],
        env=environment(folder / "home"),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_shared_memory_that_holds_no_batch_is_refused_before_the_start(tmp_path: Path) -> None:
    done = on_a_small_shared_memory(tmp_path, "8m")
    assert done.returncode == 2, done.stdout + done.stderr
    wanted = f"{shared_bytes(256, 2, 64, 2) / 2**20:.3g}"
    assert f"need {wanted} MiB of shared memory and /dev/shm has 8 MiB" in done.stderr
    assert "--shm-size" in done.stderr
    assert "data.loader_processes to 0" in done.stderr
    assert not list((tmp_path / "home").glob("trials/*"))


def test_shared_memory_that_others_have_taken_ends_a_trial_with_the_reason(tmp_path: Path) -> None:
    done = on_a_small_shared_memory(tmp_path, "24m", taken=22 * 2**20)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "shared memory is used up" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("starting it again") == 3


def test_what_is_reckoned_of_shared_memory_is_no_less_than_what_is_taken(tmp_path: Path) -> None:
    """While a batch is waited for, and its successors are decoded ahead."""
    write_folder(tmp_path, 1400)
    images = open_images(
        ImageFolder(
            kind="image_folder",
            path=str(tmp_path),
            image_size=64,
            loader_processes=2,
            val_fraction=0.01,
        ),
        "train",
    )
    assert isinstance(images.pixels, FolderFiles)
    parts = torch.arange(1280).split(128)
    cuts = [Cuts(part, torch.rand(2, 128, CROP_DRAWS)) for part in parts]
    before, wanted = _taken(), shared_bytes(128, 2, 64, 2)
    batches = iter(Decoder(images, images.pixels, Crop(), 64).views(cuts, CPU))
    next(batches)
    while _taken() - before <= 0.25 * wanted:  # until the loaders are ahead
        time.sleep(0.01)
    most = max(_taken() - before for _ in batches)
    assert most <= wanted


def _taken() -> int:
    there = os.statvfs("/dev/shm")
    return (there.f_blocks - there.f_bfree) * there.f_frsize
