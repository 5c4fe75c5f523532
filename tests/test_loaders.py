"""Batches: a function of seed, epoch and step; and what happens to broken images."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pg_platform.config.experiment import (
    Data,
    Experiment,
    ImageFolder,
    ListenerView,
    Parquet,
    Shapes,
    Speaker,
    Validation,
    Views,
)
from pg_platform.data.crops import cut_plain
from pg_platform.data.decoding import decode
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import (
    Batch,
    GameLoader,
    Share,
    plain_batches,
    validation_batches,
)
from pg_platform.data.views import MEAN, STD, normalize
from tests.pictures import CROPS_ONLY, encoded_digits, write_folder, write_parquet

CPU = torch.device("cpu")
SHAPES = Shapes(kind="shapes", count=90, image_size=16)
IMAGES = open_images(SHAPES, "train")


def experiment(data: Data = SHAPES, *, seed: int = 0, views: Views = CROPS_ONLY) -> Experiment:
    return Experiment(
        seed=seed,
        batch_size=8,
        data=data,
        views=views,
        speaker=Speaker(patch_size=data.image_size // 2),
        validation=Validation(pool_size=5),
    )


def folder(path: Path, processes: int = 0) -> ImageFolder:
    return ImageFolder(
        kind="image_folder", path=str(path), image_size=16, loader_processes=processes
    )


def loader(changed: Experiment | None = None, share: Share | None = None) -> GameLoader:
    return GameLoader(IMAGES, changed or experiment(), share or Share(), CPU)


def assert_equal(one: Batch, two: Batch) -> None:
    assert torch.equal(one.index, two.index)
    assert torch.equal(one.speaker, two.speaker)
    assert torch.equal(one.listener, two.listener)


class TestGame:
    def test_a_batch_is_two_normalised_views_on_the_device(self) -> None:
        batch = next(loader(experiment(views=Views())).epoch(0))
        for view in (batch.speaker, batch.listener):
            assert view.shape == (8, 3, 16, 16)
            assert view.dtype == torch.float32
            assert view.min() >= -max(MEAN) / min(STD)
            assert view.max() <= (1 - min(MEAN)) / min(STD)
        assert not torch.equal(batch.speaker, batch.listener)

    def test_an_epoch_shows_whole_batches_of_different_images(self) -> None:
        batches = list(loader().epoch(0))
        shown = torch.cat([batch.index for batch in batches])
        assert len(batches) == loader().steps == len(IMAGES) // 8
        assert len(set(shown.tolist())) == len(shown) == 8 * len(batches)

    def test_epochs_and_seeds_differ_in_order_and_views(self) -> None:
        first = next(loader().epoch(0))
        for other in (next(loader().epoch(1)), next(loader(experiment(seed=1)).epoch(0))):
            assert not torch.equal(first.index, other.index)
            assert not torch.equal(first.speaker, other.speaker)

    def test_an_image_looks_different_in_each_epoch(self) -> None:
        assert isinstance(IMAGES.pixels, Tensor)
        alike = replace(IMAGES, pixels=IMAGES.pixels[:1].expand_as(IMAGES.pixels))
        first, second = (
            next(GameLoader(alike, experiment(), Share(), CPU).epoch(epoch)) for epoch in (0, 1)
        )
        assert not torch.equal(first.speaker, second.speaker)

    def test_each_agent_has_its_own_changes(self) -> None:
        only_listener = CROPS_ONLY.model_copy(
            update={"crop": None, "listener": ListenerView(blur=0.0, solarize=1.0)}
        )
        batch = next(loader(experiment(views=only_listener)).epoch(0))
        seen = as_seen(IMAGES, batch.index)
        torch.testing.assert_close(batch.speaker, seen)
        assert (batch.listener <= seen + 1e-6).all()
        assert (batch.listener < seen - 1e-6).any()

    @settings(deadline=None, max_examples=15)
    @given(world=st.sampled_from([2, 4, 8]), epoch=st.integers(0, 5), step=st.integers(0, 7))
    def test_any_number_of_workers_sees_what_one_sees(
        self, world: int, epoch: int, step: int
    ) -> None:
        changed = experiment(views=Views())
        whole = next(loader(changed).epoch(epoch, step))
        parts = [
            next(loader(changed, Share(rank, world)).epoch(epoch, step)) for rank in range(world)
        ]
        assert torch.equal(torch.cat([part.index for part in parts]), whole.index)
        for name in ("speaker", "listener"):
            joined = torch.cat([getattr(part, name) for part in parts])
            torch.testing.assert_close(joined, getattr(whole, name), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("first_step", [1, 4, 8])
    def test_an_epoch_goes_on_where_it_was_left(self, first_step: int) -> None:
        changed = experiment(views=Views())
        whole = list(loader(changed).epoch(2))
        rest = list(loader(changed).epoch(2, first_step))
        for one, two in zip(whole[first_step:], rest, strict=True):
            assert_equal(one, two)

    def test_the_global_generator_is_neither_read_nor_moved(self) -> None:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        one = next(loader(experiment(views=Views())).epoch(0))
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert_equal(one, next(loader(experiment(views=Views())).epoch(0)))

    def test_without_crops_both_agents_see_the_whole_image(self) -> None:
        batch = next(
            loader(experiment(views=CROPS_ONLY.model_copy(update={"crop": None}))).epoch(0)
        )
        assert torch.equal(batch.speaker, batch.listener)
        torch.testing.assert_close(batch.speaker, as_seen(IMAGES, batch.index))

    def test_fewer_images_than_a_batch_are_refused(self) -> None:
        large = experiment().model_copy(update={"batch_size": 128})
        with pytest.raises(
            ValueError, match=rf"batch_size is 128 .* {len(IMAGES)} images; .* batch_size of "
        ):
            GameLoader(IMAGES, large, Share(), CPU)


def as_seen(images: Images, index: Tensor) -> Tensor:
    """The pixels of in-memory images of the size of the experiment, normalised."""
    assert isinstance(images.pixels, Tensor)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    seen: Tensor = (images.pixels[index] / 255 - mean) / std
    return seen


class TestEvaluation:
    def test_validation_is_the_same_for_every_seed_and_batch_size(self) -> None:
        other = experiment(seed=9).model_copy(update={"batch_size": 4})
        for one, two in zip(
            validation_batches(IMAGES, experiment(), CPU),
            validation_batches(IMAGES, other, CPU),
            strict=True,
        ):
            assert_equal(one, two)

    def test_views_of_its_own_are_the_same_exam_whatever_training_sees(self) -> None:
        exam = Validation(pool_size=5, views=CROPS_ONLY)
        plain = experiment(views=Views(crop=None)).model_copy(update={"validation": exam})
        for one, two in zip(
            validation_batches(IMAGES, plain, CPU),
            validation_batches(IMAGES, experiment(), CPU),
            strict=True,
        ):
            assert_equal(one, two)

    def test_validation_uses_whole_pools_of_mixed_classes(self) -> None:
        index = torch.cat([b.index for b in validation_batches(IMAGES, experiment(), CPU)])
        assert len(index) == len(set(index.tolist())) == len(IMAGES) // 5 * 5
        assert not torch.equal(index, index.sort().values)

    def test_validation_shows_two_views(self) -> None:
        batch = next(validation_batches(IMAGES, experiment(), CPU))
        assert not torch.equal(batch.speaker, batch.listener)

    def test_a_split_smaller_than_a_pool_is_refused(self) -> None:
        few = experiment().model_copy(update={"validation": Validation(pool_size=500)})
        with pytest.raises(
            ValueError, match=rf"validation\.pool_size is 500 .* {len(IMAGES)} images"
        ):
            next(validation_batches(IMAGES, few, CPU))

    def test_the_plain_view_shows_every_image_once_as_it_is(self) -> None:
        batches = list(plain_batches(IMAGES, experiment(views=Views()), CPU))
        index = torch.cat([positions for _, positions in batches])
        assert index.tolist() == list(range(len(IMAGES)))
        torch.testing.assert_close(torch.cat([p for p, _ in batches]), as_seen(IMAGES, index))


@dataclass(frozen=True)
class InMemoryFiles:
    """Encoded images that lie in no file."""

    data: list[bytes]
    processes: int = 0

    def read(self, position: int) -> bytes:
        return self.data[position]

    def image(self, position: int) -> Tensor:
        return decode(self.read(position))

    def name(self, position: int) -> str:
        return f"image {position}"


def encoded_images(data: list[bytes]) -> Images:
    return Images(
        classes=("one",),
        labels=torch.zeros(len(data), dtype=torch.int64),
        ids=[str(i) for i in range(len(data))],
        pixels=InMemoryFiles(data),
    )


def batches_of(images: Images, data: Data = SHAPES) -> list[Batch]:
    return list(GameLoader(images, experiment(data), Share(), CPU).epoch(0))


class TestFiles:
    def test_files_and_memory_give_the_same_views(self) -> None:
        data = [data for data, _ in encoded_digits(24, "png", (14, 12))]
        files, memory = encoded_images(data), encoded_images(data)
        memory.pixels = torch.stack([decode(one) for one in data])
        for one, two in zip(batches_of(files), batches_of(memory), strict=True):
            assert torch.equal(one.index, two.index)
            for name in ("speaker", "listener"):
                difference = getattr(one, name) - getattr(two, name)
                assert difference.abs().mean() < 0.5 / 255 / min(STD)

    def test_images_of_many_sizes_make_one_batch(self) -> None:
        sizes = [(9 + 3 * i, 40 - 2 * i) for i in range(8)]
        data = [encoded_digits(1, "jpeg", size)[0][0] for size in sizes]
        (batch,) = batches_of(encoded_images(data))
        assert batch.speaker.shape == (8, 3, 16, 16)

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    def test_other_processes_change_nothing(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 60, "jpeg")
        here, there = (
            batches_of(open_images(folder(tmp_path, processes), "train"), folder(tmp_path))
            for processes in (0, 2)
        )
        for one, two in zip(here, there, strict=True):
            assert_equal(one, two)

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    def test_processes_end_with_an_epoch_that_is_left_early(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 60, "jpeg")
        images = open_images(folder(tmp_path, 2), "train")
        before = set(multiprocessing.active_children())
        epoch = GameLoader(images, experiment(folder(tmp_path)), Share(), CPU).epoch(0)
        next(epoch)
        assert set(multiprocessing.active_children()) > before
        del epoch
        assert set(multiprocessing.active_children()) == before

    def test_the_plain_view_of_files_is_the_middle_of_each(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 30, "png", (20, 20))
        images = open_images(folder(tmp_path), "train")
        assert not isinstance(images.pixels, Tensor)
        ((pixels, index),) = plain_batches(images, experiment(folder(tmp_path)), CPU)
        assert index.tolist() == list(range(len(images)))
        expected = normalize(cut_plain(images.pixels.image(3), 16)[None] / 255)
        torch.testing.assert_close(pixels[3:4], expected)


BROKEN = {
    "no bytes": b"",
    "Unsupported image file": b"this is no image",
    "Image is incomplete": encoded_digits(1, "jpeg", (40, 40))[0][0][:400],
}


def with_broken(count: int, broken: dict[int, bytes]) -> Images:
    """Digits as PNG, of which some positions hold other bytes."""
    data = [data for data, _ in encoded_digits(count, "png", (9, 9))]
    return encoded_images([broken.get(i, one) for i, one in enumerate(data)])


class TestBroken:
    @pytest.mark.parametrize(("reason", "content"), BROKEN.items(), ids=BROKEN)
    @pytest.mark.parametrize("processes", [0, 1])
    def test_a_broken_file_is_named_once_and_the_next_one_stands_in(
        self, tmp_path: Path, reason: str, content: bytes, processes: int
    ) -> None:
        write_folder(tmp_path, 60)
        images = open_images(folder(tmp_path, processes), "train")
        (tmp_path / images.ids[3]).write_bytes(content)
        with pytest.warns(UserWarning, match=f"broken image .*{images.ids[3]}: {reason}") as seen:
            ((pixels, index),) = plain_batches(images, experiment(folder(tmp_path)), CPU)
        assert len([one for one in seen if one.category is UserWarning]) == 1
        assert list(images.broken) == [3]
        assert index.tolist() == [4 if i == 3 else i for i in range(len(images))]
        assert torch.equal(pixels[3], pixels[4])
        list(plain_batches(images, experiment(folder(tmp_path)), CPU))  # a second warning is raised

    def test_the_last_image_is_followed_by_the_first(self) -> None:
        images = with_broken(20, {19: b"broken"})
        with pytest.warns(UserWarning, match="image 19"):
            ((_, index),) = plain_batches(images, experiment(), CPU)
        assert index[19] == 0

    def test_what_stands_in_does_not_depend_on_who_asks(self) -> None:
        with pytest.warns(UserWarning, match="broken image"):
            whole = batches_of(with_broken(24, {5: b"broken"}))
        with pytest.warns(UserWarning, match="broken image"):
            shares = [
                list(
                    GameLoader(
                        with_broken(24, {5: b"broken"}), experiment(), Share(rank, 2), CPU
                    ).epoch(0)
                )
                for rank in range(2)
            ]
        for one, *parts in zip(whole, *shares, strict=True):
            assert torch.equal(torch.cat([part.index for part in parts]), one.index)

    @pytest.mark.parametrize(("count", "survives"), [(400, 4), (99, 1), (30, 1)])
    def test_one_percent_is_survived_and_one_more_is_not(self, count: int, survives: int) -> None:
        broken = {7 * i: b"broken" for i in range(survives + 1)}
        with pytest.warns(UserWarning, match="broken image"):
            list(
                plain_batches(
                    with_broken(count, dict(islice(broken.items(), survives))), experiment(), CPU
                )
            )
        with (
            pytest.warns(UserWarning, match="broken image"),
            pytest.raises(ValueError, match=rf"{survives + 1} of {count} images .*image 0: .*mend"),
        ):
            list(plain_batches(with_broken(count, broken), experiment(), CPU))

    def test_where_every_image_is_broken_the_run_stops(self) -> None:
        with (
            pytest.warns(UserWarning, match="broken image"),
            pytest.raises(ValueError, match="cannot be decoded"),
        ):
            batches_of(with_broken(8, dict.fromkeys(range(8), b"broken")))

    def test_a_file_that_is_gone_is_broken(self, tmp_path: Path) -> None:
        write_folder(tmp_path, 60)
        images = open_images(folder(tmp_path), "train")
        (tmp_path / images.ids[0]).unlink()
        with pytest.warns(UserWarning, match=images.ids[0]):
            next(plain_batches(images, experiment(folder(tmp_path)), CPU))

    def test_a_row_without_bytes_is_named_by_file_and_row(self, tmp_path: Path) -> None:
        data, labels = zip(*encoded_digits(20, "png", (9, 9)), strict=True)
        file = write_parquet(tmp_path / "x.parquet", [*data[:7], None, *data[8:]], labels)
        images = open_images(Parquet(kind="parquet", path=str(file), val_path=str(file)), "train")
        with pytest.warns(UserWarning, match=r"x\.parquet row 7: no bytes"):
            next(plain_batches(images, experiment(), CPU))
