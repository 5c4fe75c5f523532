"""Every set of images: its splits, its labels, and what it says when it cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from pg_platform.config.experiment import (
    Cifar10,
    CustomData,
    Data,
    Digits,
    Experiment,
    ImageFolder,
    Packed,
    Parquet,
    Shapes,
    Stl10,
)
from pg_platform.data.decoding import decode
from pg_platform.data.images import Images, open_images
from pg_platform.data.listing import Split
from pg_platform.data.packing import write_pack
from pg_platform.data.shapes import COLOURS
from pg_platform.data.sizes import split_sizes
from tests.pictures import encoded_digits, write_folder, write_parquet

SPLITS: tuple[Split, ...] = ("train", "val")
CIFAR = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "cifar10"


def folder(path: Path) -> ImageFolder:
    return ImageFolder(kind="image_folder", path=str(path), val_fraction=0.4)


def digit_folder(path: Path) -> Data:
    write_folder(path, 60)
    return folder(path)


def train_and_val_folders(path: Path) -> Data:
    write_folder(path / "train", 40)
    write_folder(path / "val", 20)
    return folder(path)


def parquet_of_bytes(path: Path) -> Data:
    images, labels = zip(*encoded_digits(60, "jpeg", (9, 9)), strict=True)
    write_parquet(path / "0.parquet", images[:30], labels[:30])
    write_parquet(path / "1.parquet", images[30:], labels[30:])
    return Parquet(kind="parquet", path=str(path), val_fraction=0.4)


def parquet_of_structs(path: Path) -> Data:
    images, labels = zip(*encoded_digits(60, "png", (9, 9)), strict=True)
    file = write_parquet(path / "x.parquet", [{"bytes": b, "path": "p"} for b in images], labels)
    return Parquet(kind="parquet", path=str(file), val_fraction=0.4)


def pack_of_a_folder(path: Path) -> Data:
    write_pack(digit_folder(path / "source"), path / "pack", 25, lambda _: None)
    return Packed(kind="packed", path=str(path / "pack"), val_fraction=0.4)


KINDS: list[Callable[[Path], Data]] = [
    lambda _: Digits(),
    lambda _: Shapes(kind="shapes", count=200),
    digit_folder,
    train_and_val_folders,
    parquet_of_bytes,
    parquet_of_structs,
    pack_of_a_folder,
]


@pytest.fixture(
    params=KINDS, ids=["digits", "shapes", "folder", "train_val", "bytes", "structs", "pack"]
)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Data:
    made: Data = request.param(tmp_path)
    return made


def pixels(images: Images, position: int) -> Tensor:
    if isinstance(images.pixels, Tensor):
        return images.pixels[position]
    return images.pixels.image(position)


def test_a_split_knows_as_much_of_each_image_as_it_has_images(data: Data) -> None:
    for images in (open_images(data, "train"), open_images(data, "val")):
        assert len(images) == len(images.labels) == len(images.ids) > 0
        assert images.labels.dtype == torch.int64
        assert images.labels.min() >= 0
        assert images.labels.max() < len(images.classes)
        assert all(len(values) == len(images) for values in images.attributes.values())
        for position in (0, len(images) - 1):
            image = pixels(images, position)
            assert image.dtype == torch.uint8
            assert image.shape[0] == 3


def test_the_sizes_of_splits_are_known_without_opening_them(data: Data) -> None:
    opened = {split: len(open_images(data, split)) for split in SPLITS}
    assert split_sizes(data) == opened


def test_both_splits_speak_of_the_same_classes(data: Data) -> None:
    assert open_images(data, "train").classes == open_images(data, "val").classes


def test_opened_again_a_split_is_the_same(data: Data) -> None:
    one, two = open_images(data, "val"), open_images(data, "val")
    assert list(one.ids) == list(two.ids)
    assert torch.equal(one.labels, two.labels)
    assert torch.equal(pixels(one, 3), pixels(two, 3))


@pytest.mark.parametrize("make", [m for m in KINDS if m is not train_and_val_folders])
def test_no_image_is_in_both_splits_and_the_share_is_as_asked(
    make: Callable[[Path], Data], tmp_path: Path
) -> None:
    data = make(tmp_path)
    assert not isinstance(data, CustomData)
    train, val = open_images(data, "train"), open_images(data, "val")
    assert set(train.ids).isdisjoint(val.ids)
    count = len(train) + len(val)
    assert count in (60, 200, 1797)
    assert len(val) / count == pytest.approx(data.val_fraction, abs=0.15)


def test_the_default_experiment_can_fill_its_validation_pool() -> None:
    default = Experiment()
    assert len(open_images(default.data, "val")) >= default.validation.pool_size


def test_digits_are_the_pixels_of_scikit_learn() -> None:
    val = open_images(Digits(), "val")
    assert isinstance(val.pixels, Tensor)
    assert val.pixels.shape[1:] == (3, 8, 8)
    assert val.pixels.max() == 255
    assert val.classes == tuple("0123456789")


class TestShapes:
    data = Shapes(kind="shapes", count=300, image_size=48)

    @pytest.fixture(scope="class")
    def images(self) -> Images:
        return open_images(self.data, "train")

    @pytest.fixture(scope="class")
    def painted(self, images: Images) -> Tensor:
        """(n, 48, 48) where the picture has colour: the ground is grey."""
        assert isinstance(images.pixels, Tensor)
        values = images.pixels.int()
        return (values.amax(1) - values.amin(1) > 20).float()

    def test_a_larger_size_paints_more(self, images: Images, painted: Tensor) -> None:
        area = painted.mean(dim=(1, 2))
        means = [area[images.attributes["size"] == size].mean().item() for size in range(3)]
        assert means == sorted(means)

    def test_positions_are_where_the_paint_is(self, images: Images, painted: Tensor) -> None:
        place = torch.arange(48) / 48
        across = (painted.mean(1) * place).sum(1) / painted.mean(1).sum(1)
        down = (painted.mean(2) * place).sum(1) / painted.mean(2).sum(1)
        row, column = images.attributes["position"] // 3, images.attributes["position"] % 3
        assert torch.corrcoef(torch.stack([across, column.float()]))[0, 1] > 0.95
        assert torch.corrcoef(torch.stack([down, row.float()]))[0, 1] > 0.95

    def test_colours_are_what_is_painted(self, images: Images, painted: Tensor) -> None:
        assert isinstance(images.pixels, Tensor)
        mean = (images.pixels * painted[:, None]).sum(dim=(2, 3))
        direction = torch.nn.functional.normalize(mean - mean.amin(1, keepdim=True))
        known = torch.tensor(list(COLOURS.values()))
        known = torch.nn.functional.normalize(known - known.amin(1, keepdim=True))
        guessed = (direction @ known.T).argmax(1)
        assert (guessed == images.attributes["colour"]).float().mean() > 0.9

    def test_labels_are_the_shape_and_all_values_occur(self, images: Images) -> None:
        assert torch.equal(images.labels, images.attributes["shape"])
        kinds = {name: len(values.bincount()) for name, values in images.attributes.items()}
        assert kinds == {"shape": 5, "colour": 6, "texture": 4, "position": 9, "size": 3}

    def test_a_larger_count_changes_no_picture(self, images: Images) -> None:
        more = open_images(self.data.model_copy(update={"count": 400}), "train")
        assert isinstance(images.pixels, Tensor)
        assert isinstance(more.pixels, Tensor)
        assert torch.equal(more.pixels[: len(images)], images.pixels)

    def test_another_seed_draws_others(self, images: Images) -> None:
        other = open_images(self.data.model_copy(update={"seed": 1}), "train")
        assert isinstance(images.pixels, Tensor)
        assert isinstance(other.pixels, Tensor)
        assert not torch.equal(other.pixels, images.pixels)


class TestFolder:
    def test_only_train_is_split_as_the_same_folder_without_train(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "set" / "train", 40)
        inside = open_images(folder(tmp_path / "set" / "train"), "val")
        outside = open_images(folder(tmp_path / "set"), "val")
        assert inside.ids == outside.ids

    def test_train_and_val_are_the_splits_where_they_are_there(self, tmp_path: Path) -> None:
        train_and_val_folders(tmp_path)
        assert len(open_images(folder(tmp_path), "train")) == 40
        assert len(open_images(folder(tmp_path), "val")) == 20

    def test_a_class_called_train_is_a_class(self, tmp_path: Path) -> None:
        for path in write_folder(tmp_path, 40):
            path.rename(tmp_path / path.name)
        for name in ("train", "plane"):
            (tmp_path / name).mkdir()
        for i, path in enumerate(sorted(tmp_path.glob("*.png"))):
            path.rename(tmp_path / ("train" if i % 2 else "plane") / path.name)
        assert open_images(folder(tmp_path), "train").classes == ("plane", "train")

    def test_labels_are_the_sorted_folders(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 40)
        images = open_images(folder(tmp_path), "train")
        assert images.classes == tuple(f"digit{i}" for i in range(10))
        assert images.ids == sorted(images.ids)
        for name, label in zip(images.ids, images.labels.tolist(), strict=True):
            assert name.startswith(f"digit{label}/")

    def test_capital_extensions_links_and_deeper_folders_count(self, tmp_path: Path) -> None:
        paths = write_folder(tmp_path / "real", 12)
        paths[0].rename(paths[0].with_suffix(".PNG"))
        deeper = paths[1].parent / "more" / paths[1].name
        deeper.parent.mkdir()
        paths[1].rename(deeper)
        (tmp_path / "linked" / "class").mkdir(parents=True)
        (tmp_path / "linked" / "class" / "link").symlink_to(tmp_path / "real")
        linked = folder(tmp_path / "linked")
        assert len(open_images(linked, "train")) + len(open_images(linked, "val")) == 12

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([], "has no folder per class in it"),
            (["1.png"], "has no folder per class in it"),
            (["cat/readme.txt"], "no image in the folders of .*png"),
            (["val/cat/1.png"], "has val/ but no train/"),
            (["train/cat/1.png", "val/dog/1.png"], "the class dog of val/ is not in train/"),
        ],
    )
    def test_a_folder_of_another_layout_is_refused(
        self, tmp_path: Path, names: list[str], message: str
    ) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        with pytest.raises(ValueError, match=r"data\.path: .*" + message):
            open_images(folder(tmp_path), "val")

    def test_a_split_without_an_image_is_refused(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 3)
        data = folder(tmp_path).model_copy(update={"val_fraction": 1e-9})
        with pytest.raises(
            ValueError, match=r"val split has no image; data\.val_fraction is 1e-09"
        ):
            open_images(data, "val")


class TestParquet:
    def test_val_path_is_the_validation_split(self, tmp_path: Path) -> None:
        images, labels = zip(*encoded_digits(30, "png", (8, 8)), strict=True)
        train = write_parquet(tmp_path / "train.parquet", images[:20], labels[:20])
        val = write_parquet(tmp_path / "val.parquet", images[20:], labels[20:])
        data = Parquet(kind="parquet", path=str(train), val_path=str(val))
        assert open_images(data, "train").labels.tolist() == list(labels[:20])
        held_out = open_images(data, "val")
        assert held_out.labels.tolist() == list(labels[20:])
        assert torch.equal(pixels(held_out, 9), decode(images[29]))

    def test_labels_stay_with_their_images(self, tmp_path: Path) -> None:
        encoded = encoded_digits(60, "jpeg", (9, 9))
        label_of = {decode(data).numpy().tobytes(): label for data, label in encoded}
        images = open_images(parquet_of_bytes(tmp_path), "train")
        for position, label in enumerate(images.labels.tolist()):
            assert label_of[pixels(images, position).numpy().tobytes()] == label

    def test_a_column_path_decides_the_split(self, tmp_path: Path) -> None:
        images, labels = zip(*encoded_digits(40, "png", (8, 8)), strict=True)
        table = pa.table({"image": images, "label": labels, "path": [f"p{i}" for i in range(40)]})
        for name, rows in (("one", table), ("two", table.slice(5))):
            pq.write_table(rows, tmp_path / f"{name}.parquet")
        one, two = (
            set(open_images(Parquet(kind="parquet", path=str(tmp_path / name)), "train").ids)
            for name in ("one.parquet", "two.parquet")
        )
        assert two <= one

    def test_a_null_is_no_label(self, tmp_path: Path) -> None:
        images, labels = zip(*encoded_digits(4, "png", (8, 8)), strict=True)
        file = write_parquet(tmp_path / "x.parquet", images, [*labels[:3], None])
        data = Parquet(kind="parquet", path=str(file), val_path=str(file))
        assert open_images(data, "train").labels.tolist() == [*labels[:3], -1]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_column": "img"}, r"data\.image_column: no column img in .*image, label"),
            ({"label_column": "y"}, r"data\.label_column: no column y in .*image, label"),
            ({"image_column": "label"}, r"data\.image_column: label of .* holds int64; wanted"),
            ({"label_column": "image"}, r"data\.label_column: image of .* holds binary; wanted"),
        ],
    )
    def test_a_wrong_column_is_named(
        self, tmp_path: Path, change: dict[str, str], message: str
    ) -> None:
        images, labels = zip(*encoded_digits(4, "png", (8, 8)), strict=True)
        file = write_parquet(tmp_path / "x.parquet", images, labels)
        data = Parquet(kind="parquet", path=str(file)).model_copy(update=change)
        with pytest.raises(ValueError, match=message):
            open_images(data, "train")

    @pytest.mark.skipif(not CIFAR.is_dir(), reason="no ../shared/data/cifar10")
    def test_real_parquet_opens(self) -> None:
        data = Parquet(kind="parquet", path=str(CIFAR / "cifar10-test.parquet"), image_size=32)
        train, val = open_images(data, "train"), open_images(data, "val")
        assert len(train) + len(val) == 10_000
        assert len(train.classes) == 10
        assert pixels(val, 0).shape == (3, 32, 32)


@pytest.mark.parametrize("kind", [Cifar10, Stl10])
def test_a_download_that_fails_says_what_to_do(
    kind: type[Cifar10] | type[Stl10], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()  # no folder can be made here, so nothing is ever asked of the network
    name = "cifar10" if kind is Cifar10 else "stl10"
    data = kind.model_validate({"kind": name, "path": str(blocked / "folder")})
    with pytest.raises(ValueError, match=r"data\.path: .* cannot be downloaded .*--set data\.path"):
        open_images(data, "train")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
def test_the_usual_kinds_of_files_are_decoded(kind: str) -> None:
    (data, _), *_ = encoded_digits(1, kind, (12, 10))
    assert decode(data).shape == (3, 10, 12)
