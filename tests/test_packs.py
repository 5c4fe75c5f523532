"""Packs: the source's pixels, decoded once; whole after a kill; refused where damaged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from pg_platform.cli.pack import pack as pg_pack
from pg_platform.config.experiment import (
    Data,
    Experiment,
    ImageFolder,
    Packed,
    Parquet,
    Shapes,
    Speaker,
    Validation,
)
from pg_platform.data.decoding import decode
from pg_platform.data.identity import identity
from pg_platform.data.images import Images, open_images
from pg_platform.data.listing import Split
from pg_platform.data.loaders import GameLoader, Share
from pg_platform.data.packing import write_pack
from pg_platform.data.sizes import split_sizes
from tests.pictures import CROPS_ONLY, encoded_digits, write_folder, write_parquet

SIZE = 28  # a pack for it has a shorter side of 32
SPLITS: tuple[Split, ...] = ("train", "val")


def folder(path: Path) -> ImageFolder:
    return ImageFolder(kind="image_folder", path=str(path), image_size=SIZE, val_fraction=0.4)


def packed(path: Path, processes: int = 0) -> Packed:
    return Packed(
        kind="packed",
        path=str(path),
        image_size=SIZE,
        val_fraction=0.4,
        loader_processes=processes,
    )


def make(data: Data, dest: Path, shard_images: int = 16) -> Packed:
    write_pack(data, dest, shard_images, lambda _: None)
    return packed(dest)


def image(images: Images, position: int) -> Tensor:
    assert not isinstance(images.pixels, Tensor)
    return images.pixels.image(position)


def contents(path: Path) -> dict[str, bytes]:
    """The files of a pack."""
    return {
        file.name: file.read_bytes() for file in path.iterdir() if file.suffix in (".bin", ".json")
    }


def write_yaml(file: Path, data: Data) -> Path:
    file.write_text(
        yaml.safe_dump({"data": data.model_dump(exclude_none=True), "speaker": {"patch_size": 14}})
    )
    return file


def pack(*arguments: str | Path) -> Result:
    return CliRunner().invoke(pg_pack, [str(argument) for argument in arguments])


@pytest.fixture
def source(tmp_path: Path) -> ImageFolder:
    write_folder(tmp_path / "source", 60, "jpeg", (60, 45))
    return folder(tmp_path / "source")


class TestRoundTrip:
    @pytest.mark.parametrize(
        "size", [(60, 45), (45, 60), (32, 32), (12, 10)], ids=["wide", "high", "fits", "small"]
    )
    def test_a_pack_holds_the_reduced_pixels_of_its_source(
        self, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        write_folder(tmp_path / "source", 40, "png", size)
        source = folder(tmp_path / "source")
        for split in SPLITS:
            want, got = (
                open_images(data, split) for data in (source, make(source, tmp_path / "pack"))
            )
            assert list(got.ids) == list(want.ids)
            assert got.classes == want.classes
            assert torch.equal(got.labels, want.labels)
            for position in range(len(want)):
                whole = image(want, position)
                if min(size) > 32:
                    whole = F.resize(whole, [32], InterpolationMode.BICUBIC, antialias=True)
                assert torch.equal(image(got, position), whole)

    def test_splits_of_the_source_stay(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "source" / "train", 40)
        write_folder(tmp_path / "source" / "val", 15)
        source = folder(tmp_path / "source")
        data = make(source, tmp_path / "pack").model_copy(update={"val_fraction": 0.9})
        assert split_sizes(data) == {"train": 40, "val": 15}
        assert open_images(data, "val").ids == open_images(source, "val").ids

    def test_parquet_is_packed_with_labels_and_splits(self, tmp_path: Path) -> None:
        images, labels = zip(*encoded_digits(40, "png", (9, 9)), strict=True)
        train = write_parquet(tmp_path / "t.parquet", images[:30], [None, *labels[1:30]])
        val = write_parquet(tmp_path / "v.parquet", images[30:], labels[30:])
        source = Parquet(kind="parquet", path=str(train), val_path=str(val), image_size=SIZE)
        data = make(source, tmp_path / "pack")
        assert open_images(data, "train").labels.tolist() == [-1, *labels[1:30]]
        assert torch.equal(image(open_images(data, "val"), 3), decode(images[33]))

    def test_what_is_in_memory_anyway_is_not_packed(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"data\.kind is shapes; .*image_folder or parquet"):
            make(Shapes(kind="shapes"), tmp_path / "pack")


class TestIdentity:
    def test_it_is_of_what_is_packed_and_not_of_the_place(
        self, source: ImageFolder, tmp_path: Path
    ) -> None:
        one = make(source, tmp_path / "one")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        assert identity(one) == identity(packed(tmp_path / "two"))
        next((tmp_path / "source").glob("*/*.jpeg")).unlink()
        assert identity(make(source, tmp_path / "three")) != identity(one)

    def test_a_plan_reads_sizes_without_torch(self, source: ImageFolder, tmp_path: Path) -> None:
        data = make(source, tmp_path / "pack")
        code = (
            "import sys\n"
            "from pg_platform.config.experiment import Packed\n"
            "from pg_platform.data.sizes import split_sizes\n"
            f"sizes = split_sizes(Packed.model_validate({data.model_dump()!r}))\n"
            "assert sum(sizes.values()) == 60, sizes\n"
            "sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestInterrupted:
    def test_killed_in_the_middle_the_same_command_ends_with_the_same_bytes(
        self, tmp_path: Path
    ) -> None:
        write_folder(tmp_path / "source", 400, "jpeg", (90, 70))
        source = folder(tmp_path / "source")
        file, dest = write_yaml(tmp_path / "e.yaml", source), tmp_path / "killed"
        command = [
            *(sys.executable, "-c", "from pg_platform.cli.pack import pack; pack()"),
            *(str(file), str(dest), "--shard-images", "8"),
        ]
        assert killed_after_a_line(command)
        assert not (dest / "manifest.json").exists()
        with pytest.raises(ValueError, match=r"no .*manifest\.json; .*pg-pack FILE .* goes on"):
            open_images(packed(dest), "train")
        before = (dest / "shard-00000.bin").stat().st_mtime_ns
        assert pack(file, dest, "--shard-images", "8").exit_code == 0
        assert (dest / "shard-00000.bin").stat().st_mtime_ns == before
        make(source, tmp_path / "whole", 8)
        assert contents(dest) == contents(tmp_path / "whole")

    def test_a_damaged_shard_is_written_again_and_no_other(
        self, source: ImageFolder, tmp_path: Path
    ) -> None:
        make(source, tmp_path / "pack")
        whole = contents(tmp_path / "pack")
        spoil(tmp_path / "pack" / "shard-00001.bin")
        lines: list[str] = []
        write_pack(source, tmp_path / "pack", 16, lines.append)
        assert [line.split(":")[0] for line in lines] == [
            "shard-00000 was there",
            "shard-00001 written",
            "shard-00002 was there",
            "shard-00003 was there",
        ]
        assert contents(tmp_path / "pack") == whole

    def test_two_at_once_are_refused(self, source: ImageFolder, tmp_path: Path) -> None:
        seen: list[str] = []

        def second(_: str) -> None:
            with pytest.raises(ValueError, match=r"another pg-pack writes .*pack already"):
                make(source, tmp_path / "pack")
            seen.append("refused")

        write_pack(source, tmp_path / "pack", 64, second)
        assert seen == ["refused"]

    def test_a_folder_with_another_pack_is_left_alone(
        self, source: ImageFolder, tmp_path: Path
    ) -> None:
        make(source, tmp_path / "pack")
        whole = contents(tmp_path / "pack")
        other = source.model_copy(update={"image_size": 14})
        with pytest.raises(ValueError, match=r"holds a pack of .* 28 .* one of .* 14 .*another"):
            make(other, tmp_path / "pack")
        assert contents(tmp_path / "pack") == whole


def killed_after_a_line(command: Sequence[str]) -> bool:
    """Whether a command under way was killed (-9) once it had reported its first shard."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    return process.returncode == -9


def spoil(file: Path) -> None:
    """Change one byte."""
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)


class TestDamaged:
    def test_verify_finds_a_changed_byte(self, source: ImageFolder, tmp_path: Path) -> None:
        make(source, tmp_path / "pack")
        done = pack("--verify", tmp_path / "pack")
        assert done.exit_code == 0
        assert "60 images" in done.output
        spoil(tmp_path / "pack" / "shard-00002.bin")
        done = pack("--verify", tmp_path / "pack")
        assert done.exit_code == 2
        assert "shard-00002.bin has another hash than when written; run the pg-pack" in done.output

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("shard-00000.bin", b"short", r"shard-00000\.bin has 5 bytes and should have \d+; run"),
            ("shard-00000.json", b"{}", r"shard-00000\.json has another hash than when written"),
            ("shard-00001.bin", None, r"shard-00001\.bin is gone; run"),
            ("manifest.json", None, r"no .*manifest\.json; .*--set data\.path=FOLDER"),
            ("manifest.json", b'{"version": 2}', r"manifest\.json is no manifest that this versi"),
        ],
    )
    def test_each_damage_is_one_message(
        self, source: ImageFolder, tmp_path: Path, name: str, content: bytes | None, message: str
    ) -> None:
        data = make(source, tmp_path / "pack")
        (tmp_path / "pack" / name).unlink()
        if content is not None:
            (tmp_path / "pack" / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"data\.path: .*" + message):
            open_images(data, "train")

    def test_another_image_size_is_refused(self, source: ImageFolder, tmp_path: Path) -> None:
        data = make(source, tmp_path / "pack").model_copy(update={"image_size": 32})
        with pytest.raises(
            ValueError, match=r"image_size: is 32 .* made for 28; try --set data\.image_size=28"
        ):
            open_images(data, "train")


class TestBroken:
    def test_a_broken_image_is_left_out_and_named(
        self, source: ImageFolder, tmp_path: Path
    ) -> None:
        victim = sorted((tmp_path / "source").glob("*/*.jpeg"))[20]
        victim.write_bytes(b"no image")
        file = write_yaml(tmp_path / "e.yaml", source)
        done = pack(file, tmp_path / "pack")
        assert done.exit_code == 0, done.output
        assert f"broken, left out: {victim}: " in done.output
        assert f"59 images in {tmp_path / 'pack'}" in done.output
        assert sum(split_sizes(packed(tmp_path / "pack")).values()) == 59

    def test_more_than_a_percent_stops_it(self, source: ImageFolder, tmp_path: Path) -> None:
        for victim in sorted((tmp_path / "source").glob("*/*.jpeg"))[:2]:
            victim.write_bytes(b"")
        done = pack(write_yaml(tmp_path / "e.yaml", source), tmp_path / "pack")
        assert done.exit_code == 2
        assert "2 images cannot be decoded, and at most 1 of 60" in done.output
        assert not (tmp_path / "pack" / "manifest.json").exists()


class TestTraining:
    def experiment(self, data: Data) -> Experiment:
        return Experiment(
            batch_size=8,
            data=data,
            views=CROPS_ONLY,
            speaker=Speaker(patch_size=14),
            validation=Validation(pool_size=5),
        )

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    @pytest.mark.parametrize(("world", "processes"), [(2, 0), (4, 0), (1, 2)])
    def test_workers_and_processes_see_the_same_global_batches(
        self, source: ImageFolder, tmp_path: Path, world: int, processes: int
    ) -> None:
        make(source, tmp_path / "pack")

        def batch(share: Share, processes: int) -> tuple[Tensor, ...]:
            data = packed(tmp_path / "pack", processes)
            loader = GameLoader(
                open_images(data, "train"), self.experiment(data), share, torch.device("cpu")
            )
            one = next(loader.epoch(1, 2))
            return one.index, one.speaker, one.listener

        parts = [batch(Share(rank, world), processes) for rank in range(world)]
        for whole, *shares in zip(batch(Share(), 0), *parts, strict=True):
            assert torch.equal(torch.cat(shares), whole)

    def test_a_pack_shows_the_images_of_its_source_in_the_same_order(
        self, source: ImageFolder, tmp_path: Path
    ) -> None:
        data = make(source, tmp_path / "pack")
        one, two = (
            next(
                GameLoader(
                    open_images(kind, "train"), self.experiment(kind), Share(), torch.device("cpu")
                ).epoch(0)
            )
            for kind in (source, data)
        )
        assert torch.equal(one.index, two.index)
        assert (one.speaker - two.speaker).abs().mean() < 0.2


class TestObjectStore:
    """Addresses go through pyarrow's file systems; file:// is the one that is always there."""

    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("PG_HOME", str(tmp_path / "home"))
        return tmp_path / "home"

    @staticmethod
    def remote(data: Packed) -> Packed:
        return data.model_copy(update={"path": f"file://{data.path}"})

    @pytest.mark.usefixtures("home")
    def test_a_remote_pack_is_the_pack(self, source: ImageFolder, tmp_path: Path) -> None:
        here = make(source, tmp_path / "pack")
        there = self.remote(here)
        assert identity(there) == identity(here)
        assert split_sizes(there) == split_sizes(here)
        want, got = (open_images(data, "train") for data in (here, there))
        assert all(torch.equal(image(want, i), image(got, i)) for i in range(len(want)))

    def test_it_is_brought_here_once(self, source: ImageFolder, tmp_path: Path, home: Path) -> None:
        there = self.remote(make(source, tmp_path / "pack"))
        split_sizes(there)
        assert not list(home.rglob("*.bin"))
        want = image(open_images(there, "train"), 0)
        for file in (tmp_path / "pack").glob("*.bin"):
            file.unlink()
        assert torch.equal(image(open_images(there, "train"), 0), want)

    def test_what_arrives_damaged_is_refused_and_not_kept(
        self, source: ImageFolder, tmp_path: Path, home: Path
    ) -> None:
        there = self.remote(make(source, tmp_path / "pack"))
        shard = next((tmp_path / "pack").glob("*.bin"))
        shard.write_bytes(bytes(shard.stat().st_size))
        with pytest.raises(ValueError, match=rf"{shard.name} has another hash than its manifest"):
            open_images(there, "train")
        assert not list(home.rglob(shard.name))

    @pytest.mark.usefixtures("home")
    def test_a_pack_that_was_replaced_there_is_brought_anew(
        self, source: ImageFolder, tmp_path: Path
    ) -> None:
        """Same address, same names of shards, other pixels."""
        there = self.remote(make(source, tmp_path / "pack"))
        old = image(open_images(there, "train"), 0)
        shutil.rmtree(tmp_path / "pack")
        shutil.rmtree(tmp_path / "source")
        write_folder(tmp_path / "source", 60, "png", (45, 60))
        here = make(folder(tmp_path / "source"), tmp_path / "pack")
        want, got = (image(open_images(data, "train"), 0) for data in (here, there))
        assert torch.equal(got, want)
        assert got.shape != old.shape
