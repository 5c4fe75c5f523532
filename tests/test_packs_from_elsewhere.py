"""Packs from elsewhere are data: whatever they say, nothing outside them is read or written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pg_platform.cli.pack import pack as pg_pack
from pg_platform.cli.sweep import sweep as pg_sweep
from pg_platform.cli.train import train as pg_train
from pg_platform.config.experiment import ImageFolder, Packed
from pg_platform.data.images import open_images
from pg_platform.data.listing import Split
from pg_platform.data.packing import write_pack
from pg_platform.data.sizes import split_sizes
from tests.pictures import write_folder
from tests.small import SMALL, merged, write_experiment, write_sweep

SIZE = 16
IMAGES, IN_A_SHARD = 150, 64
SPLITS: tuple[Split, ...] = ("train", "val")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of three shards, made by pg-pack."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PG_HOME", str(place / "home"))
        write_folder(place / "source", IMAGES)
        source = ImageFolder(
            kind="image_folder", path=str(place / "source"), image_size=SIZE, val_fraction=0.5
        )
        write_pack(source, place / "pack", IN_A_SHARD, lambda _: None)
    return place / "pack"


class World:
    """A store, a pack that somebody else has made, and things beside them that are not its own."""

    def __init__(self, root: Path, whole: Path) -> None:
        self.root, self.home = root, root / "a" / "b" / "home"
        self.pack = root / "a" / "b" / "pack"
        self.victim = root / "victim"
        self.victim.mkdir(parents=True)
        shutil.copytree(whole, self.pack)
        for end in ("bin", "json"):
            shutil.copy(whole / f"shard-00000.{end}", self.victim / f"written.{end}")

    def data(self, where: str = "here") -> Packed:
        """The pack, as a folder or as an address of an object store."""
        path = f"file://{self.pack}" if where == "there" else str(self.pack)
        return Packed(kind="packed", path=path, image_size=SIZE, val_fraction=0.5)

    def manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.pack / "manifest.json").read_text()))

    def write_manifest(self, manifest: object) -> None:
        (self.pack / "manifest.json").write_text(json.dumps(manifest))

    def index(self, shard: int = 0) -> dict[str, Any]:
        return dict(json.loads((self.pack / f"shard-{shard:05}.json").read_text()))

    def write_index(self, index: object, shard: int = 0) -> None:
        """An index, with its hash in the manifest, as somebody has it who means harm."""
        content = json.dumps(index).encode()
        (self.pack / f"shard-{shard:05}.json").write_bytes(content)
        manifest = self.manifest()
        manifest["shards"][shard]["index"] = hashlib.sha256(content).hexdigest()
        self.write_manifest(manifest)

    def outside(self) -> dict[str, bytes]:
        """All files but those of the store."""
        return {
            str(path): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.is_relative_to(self.home)
        }


@pytest.fixture
def world(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, whole)
    monkeypatch.setenv("PG_HOME", str(made.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


def told_in_one_line(error: ValueError, world: World) -> None:
    """Where it is and what to do, and nothing that a terminal would obey."""
    message = str(error)
    assert message.isprintable(), message
    assert message.startswith("data.path: "), message
    assert str(world.pack) in message, message
    assert ";" in message, "no remedy"


def experiment(data: Packed) -> dict[str, Any]:
    return {"data": dict.fromkeys(SMALL["data"]) | data.model_dump()}


def without_nulls(text: Path) -> Path:
    """The file without the keys that are not those of a pack."""
    kept = [line for line in text.read_text().splitlines() if not line.endswith(": null")]
    text.write_text("\n".join(kept))
    return text


def dry_run(world: World, data: Packed) -> Result:
    file = without_nulls(write_sweep(world.root, {"experiment": experiment(data)}))
    return CliRunner().invoke(pg_sweep, [str(file), "--dry-run"])


NAMES = {
    "above": "../../../victim/written",
    "absolute": "/tmp/written",
    "below": "more/shard-00000",
    "itself": "manifest",
    "empty": "",
    "a dot": ".",
    "two dots": "..",
    "a new line": "shard-00000\n",
    "a null": "shard-00000\0",
    "a terminal's command": "\x1b[2Jshard-00000",
    "a backslash": "..\\shard-00000",
    "another's": "shard-00001",
}


class TestNames:
    @pytest.mark.parametrize("where", ["here", "there"])
    @pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
    def test_a_dry_run_refuses_a_name_that_no_pack_has(
        self, world: World, name: str, where: str
    ) -> None:
        manifest = world.manifest()
        manifest["shards"][0]["name"] = name
        world.write_manifest(manifest)
        for end in ("bin", "json"):
            shutil.copy(world.pack / f"shard-00000.{end}", world.victim / f"written.{end}")
        before = world.outside()
        data = world.data(where)
        with pytest.raises(ValueError, match="shards") as refused:
            open_images(data, "train")
        told_in_one_line(refused.value, world)
        assert world.outside() == before
        assert not list(world.root.rglob("written.json.*"))

    @pytest.mark.parametrize("where", ["here", "there"])
    def test_the_command_says_it_in_one_line(self, world: World, where: str) -> None:
        manifest = world.manifest()
        manifest["shards"][0]["name"] = NAMES["above"]
        world.write_manifest(manifest)
        for end in ("bin", "json"):
            (world.victim / f"written.{end}").unlink()
        done = dry_run(world, world.data(where))
        assert done.exit_code == 2, done.output
        assert not list(world.victim.iterdir())
        (line,) = done.stderr.splitlines()
        assert "manifest.json" in line
        assert "victim/written" in line

    @pytest.mark.parametrize("name", ["manifest.json", "shard-00001.json", "shard-00001.bin"])
    def test_a_link_out_of_the_pack_is_not_followed(self, world: World, name: str) -> None:
        shutil.move(world.pack / name, world.victim / name)
        (world.pack / name).symlink_to(world.victim / name)
        with pytest.raises(ValueError, match=f"{name} is a link that leads out") as refused:
            split_sizes(world.data())
        told_in_one_line(refused.value, world)

    def test_a_link_to_the_whole_pack_is_the_pack(self, world: World) -> None:
        link = world.root / "link"
        link.symlink_to(world.pack)
        data = world.data().model_copy(update={"path": str(link)})
        assert sum(split_sizes(data).values()) == IMAGES

    def test_packing_into_a_folder_with_links_writes_through_none(self, world: World) -> None:
        source = ImageFolder(
            kind="image_folder", path=str(world.root / "photos"), image_size=SIZE, val_fraction=0.5
        )
        write_folder(world.root / "photos", IMAGES)
        shutil.rmtree(world.pack)
        world.pack.mkdir()
        target = world.victim / "written.bin"
        for name in ("shard-00000.partial", "shard-00000.json.partial", "manifest.json.partial"):
            (world.pack / name).symlink_to(target)
        before = target.read_bytes()
        write_pack(source, world.pack, IN_A_SHARD, lambda _: None)
        assert target.read_bytes() == before
        assert sum(split_sizes(world.data()).values()) == IMAGES
        (world.pack / ".lock").unlink()
        (world.pack / ".lock").symlink_to(target)
        with pytest.raises(ValueError, match=r"\.lock is a link, .*remove it"):
            write_pack(source, world.pack, IN_A_SHARD, lambda _: None)
        assert target.read_bytes() == before


def changed(key: str, row: int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(index: dict[str, Any]) -> None:
        index[key][row] = value

    return change


def shorter(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda index: index[key].pop()


def set_to(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda index: index.update({key: value})


INDICES: Mapping[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a label too high": (changed("labels", 3, 10), "image 3 has label 10 of 10 classes"),
    "a label too low": (changed("labels", 3, -2), "image 3 has label -2 of 10 classes"),
    "a label that is no number": (changed("labels", 0, "7"), "labels.0"),
    "an offset before the file": (changed("offsets", 1, -480), "image 1 begins at -480"),
    "an offset behind the file": (changed("offsets", 63, 10**9), "image 63 begins at 1000000000"),
    "an offset of another image": (changed("offsets", 2, 0), "image 2 begins at 0 and not at 720"),
    "an offset beyond all": (changed("offsets", 1, 10**30), "image 1 begins at 1000"),
    "a height of none": (changed("heights", 5, 0), "heights.5"),
    "a height below none": (changed("heights", 5, -1), "heights.5"),
    "a height above all": (changed("heights", 5, 2**40), "heights.5"),
    "a smaller last image": (changed("heights", 63, 1), "has 23040 bytes and should have"),
    "fewer labels": (shorter("labels"), "different lengths"),
    "fewer names": (shorter("ids"), "different lengths"),
    "fewer roles": (shorter("roles"), "different lengths"),
    "fewer sizes": (shorter("widths"), "different lengths"),
    "a role that there is not": (changed("roles", 0, "test"), "roles.0"),
    "pixels of another": (set_to("sha256", "0" * 64), "of another shard-00000.bin"),
    "a command for the terminal": (set_to("\x1b[2J\nerror", 1), "not permitted"),
}


class TestIndices:
    @pytest.mark.parametrize("where", ["here", "there"])
    @pytest.mark.parametrize(("change", "told"), INDICES.values(), ids=INDICES.keys())
    def test_what_cannot_be_is_refused_in_the_dry_run(
        self, world: World, change: Callable[[dict[str, Any]], None], told: str, where: str
    ) -> None:
        index = world.index()
        change(index)
        world.write_index(index)
        with pytest.raises(ValueError, match="shard-00000") as refused:
            split_sizes(world.data(where))
        told_in_one_line(refused.value, world)
        assert told in str(refused.value)
        assert not list(world.home.rglob("*.bin")), "nothing heavy has begun"

    @pytest.mark.parametrize("where", ["here", "there"])
    def test_a_shard_that_was_cut_is_found_before_it_is_copied(
        self, world: World, where: str
    ) -> None:
        shard = world.pack / "shard-00001.bin"
        shard.write_bytes(shard.read_bytes()[:-1])
        with pytest.raises(ValueError, match=r"shard-00001\.bin has \d+ bytes and should") as told:
            split_sizes(world.data(where))
        told_in_one_line(told.value, world)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(list(NAMES.values())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [
        (),
        ("version",),
        ("image_size",),
        ("classes",),
        ("classes", 0),
        ("shards",),
        ("shards", 0),
        ("shards", 1),
        *[("shards", i, key) for i in (0, 2) for key in ("name", "pixels", "index", "\x1b]0;")],
    ]
)
OF_AN_INDEX = st.sampled_from(
    [
        (),
        *[(key,) for key in ("origin", "sha256", "ids", "labels", "offsets", "broken", "x\n")],
        *[
            (key, row)
            for key in ("ids", "labels", "roles", "offsets", "heights", "widths")
            for row in (0, 21)
        ],
    ]
)


def put(tree: Any, place: tuple[str | int, ...], value: object) -> Any:
    """The tree with a value at a place."""
    if not place:
        return value
    *way, last = place
    inner = tree
    for step in way:
        inner = inner[step]
    inner[last] = value
    return tree


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, whole: Path) -> Iterator[World]:
    """A world that many hostile packs come to, one after another."""
    made = World(tmp_path_factory.mktemp("shared"), whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PG_HOME", str(made.home))
        yield made


class TestWhateverItSays:
    """The pack opens as one that there could be, or is refused in a line."""

    @staticmethod
    def opened(world: World, whole: Path, where: str) -> None:
        before = world.outside()
        data = world.data(where)
        try:
            split_sizes(data)
            images = open_images(data, "train")
            assert all(-1 <= label < len(images.classes) for label in images.labels.tolist())
        except ValueError as refused:
            if "split has no image" not in str(refused):  # a pack of none: nothing is wrong in it
                told_in_one_line(refused, world)
        finally:
            after = world.outside()
            shutil.copytree(whole, world.pack, dirs_exist_ok=True)
        assert after == before

    @given(place=PLACES, value=JSON, where=st.sampled_from(["here", "there"]))
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def test_a_manifest(
        self, shared: World, whole: Path, place: tuple[str | int, ...], value: object, where: str
    ) -> None:
        shared.write_manifest(put(shared.manifest(), place, value))
        self.opened(shared, whole, where)

    @given(place=OF_AN_INDEX, value=JSON, where=st.sampled_from(["here", "there"]))
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def test_an_index(
        self, shared: World, whole: Path, place: tuple[str | int, ...], value: object, where: str
    ) -> None:
        shared.write_index(put(shared.index(), place, value))
        self.opened(shared, whole, where)

    @given(content=st.binary(max_size=200), where=st.sampled_from(["here", "there"]))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def test_any_bytes(self, shared: World, whole: Path, content: bytes, where: str) -> None:
        (shared.pack / "manifest.json").write_bytes(content)
        self.opened(shared, whole, where)


def flip(file: Path, count: int = 200) -> None:
    """Change so many bytes, and neither size nor name nor the time of modification."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    for place in range(0, len(content), len(content) // count):
        content[place] ^= 255
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def bytes_read(call: Callable[[], object]) -> int:
    """What this process reads from files meanwhile."""

    def so_far() -> int:
        first, *_ = Path("/proc/self/io").read_text().splitlines()
        return int(first.removeprefix("rchar: "))

    before = so_far()
    call()
    return so_far() - before


class TestPixels:
    def test_changed_bytes_are_not_trained_on(self, world: World) -> None:
        file = without_nulls(
            write_experiment(
                world.root, merged({"validation": {"pool_size": 32}}, experiment(world.data()))
            )
        )
        flip(world.pack / "shard-00001.bin")
        done = CliRunner().invoke(pg_train, [str(file), "--local"])
        assert done.exit_code == 2, done.output
        (line,) = done.stderr.splitlines()
        assert "shard-00001.bin has another hash than when written; run the pg-pack" in line
        assert str(world.pack / "manifest.json") in line
        assert not list(world.home.glob("trials/*"))

    def test_a_pack_is_read_whole_once_and_again_after_a_change(self, world: World) -> None:
        data = world.data()
        pixels = sum(file.stat().st_size for file in world.pack.glob("*.bin"))
        shard = world.pack / "shard-00001.bin"
        assert bytes_read(lambda: open_images(data, "train")) > pixels
        assert bytes_read(lambda: open_images(data, "val")) < pixels
        shard.touch()
        first = bytes_read(lambda: open_images(data, "val"))
        assert first - bytes_read(lambda: open_images(data, "val")) >= shard.stat().st_size
        flip(shard)
        for split in SPLITS:
            with pytest.raises(ValueError, match=r"shard-00001\.bin has another hash") as told:
                open_images(data, split)
            told_in_one_line(told.value, world)

    def test_what_verify_has_found_right_is_not_read_again(self, world: World) -> None:
        pixels = sum(file.stat().st_size for file in world.pack.glob("*.bin"))
        done = CliRunner().invoke(pg_pack, ["--verify", str(world.pack)])
        assert done.exit_code == 0, done.output
        assert bytes_read(lambda: open_images(world.data(), "train")) < pixels
        flip(world.pack / "shard-00002.bin")
        done = CliRunner().invoke(pg_pack, ["--verify", str(world.pack)])
        assert done.exit_code == 2
        assert "shard-00002.bin has another hash" in done.stderr

    def test_nothing_is_written_into_a_pack(self, world: World) -> None:
        before = {path: path.stat().st_mtime_ns for path in [world.pack, *world.pack.iterdir()]}
        open_images(world.data(), "train")
        after = {path: path.stat().st_mtime_ns for path in [world.pack, *world.pack.iterdir()]}
        assert after == before

    def test_a_copy_of_an_object_store_that_changed_here_is_brought_anew(
        self, world: World
    ) -> None:
        data = world.data("there")
        open_images(data, "train")
        (copy,) = world.home.rglob("shard-00001.bin")
        flip(copy)
        open_images(data, "train")
        assert copy.read_bytes() == (world.pack / "shard-00001.bin").read_bytes()

    def test_a_store_that_cannot_be_written_keeps_no_memory_and_stops_nobody(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PG_HOME", "/proc/no-store")  # not even root can make a folder there
        assert len(open_images(world.data(), "train")) > 0
        flip(world.pack / "shard-00000.bin")
        with pytest.raises(ValueError, match="another hash"):
            open_images(world.data(), "train")
