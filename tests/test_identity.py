"""The identity of data: equal for equal images wherever they lie, another for others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pg_platform.config.experiment import Cifar10, Data, Digits, ImageFolder, Parquet, Shapes
from pg_platform.data.identity import identity
from tests.pictures import encoded_digits, write_folder, write_parquet


def folder(path: Path) -> ImageFolder:
    return ImageFolder(kind="image_folder", path=str(path))


def parquet(path: Path, val_path: Path | None = None) -> Parquet:
    validates = None if val_path is None else str(val_path)
    return Parquet(kind="parquet", path=str(path), val_path=validates)


def test_a_plan_can_ask_for_it_without_torch() -> None:
    code = "import sys, pg_platform.data.identity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_opens_with_the_kind_and_is_the_same_twice() -> None:
    assert identity(Digits()).startswith("digits-")
    assert identity(Digits()) == identity(Digits())


@pytest.mark.parametrize("change", [{"count": 7}, {"seed": 1}, {"image_size": 28}])
def test_every_setting_that_changes_shapes_changes_their_identity(change: dict[str, int]) -> None:
    plain = Shapes(kind="shapes")
    assert identity(plain.model_copy(update=change)) != identity(plain)


def test_a_downloaded_set_is_itself_wherever_it_lies() -> None:
    here, there = (identity(Cifar10(kind="cifar10", path=path)) for path in ("here", "there"))
    assert here == there


def test_a_folder_is_known_by_its_files_and_not_by_its_place(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", 6)
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "deeper")
    first = identity(folder(tmp_path / "one"))
    assert identity(folder(tmp_path / "two" / "deeper")) == first

    (tmp_path / "one" / "notes.txt").write_text("not an image")
    assert identity(folder(tmp_path / "one")) == first


@pytest.mark.parametrize("change", ["rename", "grow", "remove", "add"])
def test_another_file_in_a_folder_is_another_identity(tmp_path: Path, change: str) -> None:
    paths = write_folder(tmp_path, 6)
    before = identity(folder(tmp_path))
    match change:
        case "rename":
            paths[0].rename(paths[0].with_name("other.png"))
        case "grow":
            paths[0].write_bytes(paths[0].read_bytes() + b"0")
        case "remove":
            paths[0].unlink()
        case "add":
            shutil.copy(paths[0], paths[0].with_name("other.png"))
    assert identity(folder(tmp_path)) != before


def test_a_link_that_leads_nowhere_does_not_keep_a_folder_from_being_known(tmp_path: Path) -> None:
    write_folder(tmp_path, 3)
    before = identity(folder(tmp_path))
    (tmp_path / "digit0" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert identity(folder(tmp_path)) != before


def test_parquet_is_known_by_its_content_and_by_what_validates(tmp_path: Path) -> None:
    images, labels = zip(*encoded_digits(8, "png", (8, 8)), strict=True)
    one = write_parquet(tmp_path / "a" / "x.parquet", images, labels)
    same = write_parquet(tmp_path / "b" / "x.parquet", images, labels)
    other = write_parquet(tmp_path / "c" / "x.parquet", images[::-1], labels[::-1])
    assert identity(parquet(one)) == identity(parquet(same)) == identity(parquet(same.parent))
    known = {identity(parquet(one)), identity(parquet(other)), identity(parquet(one, other))}
    assert len(known) == 3


def test_parquet_files_of_one_size_are_told_apart(tmp_path: Path) -> None:
    images, _ = zip(*encoded_digits(8, "png", (8, 8)), strict=True)
    ones = write_parquet(tmp_path / "a" / "x.parquet", images, [1] * 8)
    twos = write_parquet(tmp_path / "b" / "x.parquet", images, [2] * 8)
    assert ones.stat().st_size == twos.stat().st_size
    assert identity(parquet(ones)) != identity(parquet(twos))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            ImageFolder(kind="image_folder", path="no/where"),
            "data.path: no folder no/where; .*--set",
        ),
        (Parquet(kind="parquet", path="no.parquet"), "data.path: no file no.parquet; .*--set"),
        (Parquet(kind="parquet", path="no/*.parquet"), "data.path: no parquet file .*--set"),
    ],
)
def test_data_that_is_not_there_is_refused_with_a_remedy(data: Data, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        identity(data)


def test_a_val_path_that_is_not_there_names_its_key(tmp_path: Path) -> None:
    images, labels = zip(*encoded_digits(2, "png", (8, 8)), strict=True)
    file = write_parquet(tmp_path / "x.parquet", images, labels)
    with pytest.raises(ValueError, match=r"data\.val_path: no file .*gone\.parquet"):
        identity(parquet(file, tmp_path / "gone.parquet"))


def test_a_file_that_only_has_the_name_of_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(ValueError, match=r"x\.parquet is not a parquet file"):
        identity(parquet(tmp_path / "x.parquet"))
