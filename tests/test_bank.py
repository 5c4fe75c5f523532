"""The message bank: made once, whole or not at all, and of these weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pg_platform.config.experiment import Experiment
from pg_platform.data.images import open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.evaluation.message_bank import BankOptions, open_bank, read_bank
from pg_platform.evaluation.trained import Trained
from pg_platform.methods import build
from tests.small import SMALL

CPU = torch.device("cpu")


def untrained(folder: Path, seed: int = 0) -> Trained:
    experiment = Experiment.model_validate({**SMALL, "seed": seed})
    return Trained(folder / "step-000000000", experiment, build(experiment).eval(), CPU)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return untrained(tmp_path_factory.mktemp("bank"))


def test_a_bank_holds_what_the_agents_say_and_see(trained: Trained) -> None:
    bank = open_bank(trained, "train")
    images = open_images(trained.experiment.data, "train")
    assert len(bank) == len(images)
    start = 0
    for pixels, index in plain_batches(images, trained.experiment, CPU):
        played = trained.method.play((pixels, pixels))
        rows = slice(start, start + len(index))
        assert np.array_equal(bank.symbols[rows], played.ids.numpy())
        assert np.array_equal(bank.gates[rows], played.gate.numpy())
        assert np.array_equal(bank.scores[rows], played.importance.numpy())
        assert np.array_equal(bank.text[rows], played.text.numpy())
        assert np.array_equal(bank.image[rows], played.image.numpy())
        with torch.no_grad():
            assert np.array_equal(bank.features[rows], trained.method.features(pixels).numpy())
        start += len(index)
    assert np.array_equal(bank.labels, images.labels.numpy())
    assert [name.decode() for name in bank.ids] == list(images.ids)
    assert {name: values.tolist() for name, values in bank.attributes.items()} == {
        name: values.tolist() for name, values in images.attributes.items()
    }


def test_a_bank_is_made_once_for_each_split_and_view(trained: Trained) -> None:
    first = open_bank(trained, "val")
    written = (first.folder / "symbols.npy").stat().st_mtime_ns
    assert (open_bank(trained, "val").folder / "symbols.npy").stat().st_mtime_ns == written
    views = open_bank(trained, "val", BankOptions(views="validation"))
    assert len({first.folder, views.folder, open_bank(trained, "train").folder}) == 3
    assert len(views) == len(first) // 64 * 64
    assert not np.array_equal(views.text[:64], first.text[np.argsort(first.positions)][:64])
    with pytest.raises(ValueError, match="read-only"):
        first.symbols[0] = 0


def test_a_bank_of_other_weights_is_refused(tmp_path: Path) -> None:
    one, other = untrained(tmp_path), untrained(tmp_path, seed=1)
    bank = open_bank(one, "val")
    assert open_bank(other, "val").folder != bank.folder
    with pytest.raises(ValueError, match="this bank was made by weights"):
        read_bank(bank.folder, other)
    with pytest.raises(ValueError, match="no message bank here"):
        read_bank(tmp_path, one)


def test_a_bank_cut_short_leaves_nothing_behind(tmp_path: Path) -> None:
    trained = untrained(tmp_path)
    trained.method.train()  # play() refuses, after the folder has been opened
    with pytest.raises(ValueError, match="eval mode"):
        open_bank(trained, "val")
    assert not list((tmp_path / "banks").iterdir())
    trained.method.eval()
    assert len(open_bank(trained, "val")) > 0
