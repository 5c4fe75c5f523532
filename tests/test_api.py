"""The Python API: what the commands do, from a script."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pg_platform as pg
from pg_platform import api
from pg_platform.data.images import open_images
from pg_platform.evaluation.message_bank import open_bank
from tests.local_sweeps import written
from tests.small import write_experiment


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a sweep of two vocabularies that ran to its end."""
    folder = tmp_path_factory.mktemp("api")
    sweep = pg.load_sweep(written(folder, {"seeds": 2}))
    done = pg.run_sweep(sweep, local=True, home=folder / "home")
    assert len(done.verdict.finished) == 4
    return folder / "home"


def test_a_row_a_trial_and_a_row_a_point(home: Path) -> None:
    trials = pg.results("small", home=home)
    assert list(trials["seed"]) == [0, 1, 0, 1]
    assert set(trials["status"]) == {"FINISHED"}
    points = pg.results("small", by="point", home=home)
    metric = "val/top1_pool32"
    for (_, group), mean in zip(
        trials.groupby("speaker.vocab_size", sort=False)[metric], points["mean"], strict=True
    ):
        assert group.mean() == pytest.approx(mean)
    assert metric in points.attrs["answer"] or "learned" in points.attrs["answer"]


def test_the_plan_has_ids_that_the_store_knows(home: Path) -> None:
    sweep = pg.load_sweep(home.parent / "small_sweep.yaml")
    folders = set(pg.results(sweep, home=home)["checkpoints"])
    assert {Path(folder).name for folder in folders} == {trial.id for trial in pg.plan(sweep)}
    again = pg.run_sweep(sweep, local=True, home=home)
    assert not again.verdict.finished, "nothing finished runs twice"


def test_messages_of_a_split_are_those_of_its_evaluations(home: Path) -> None:
    run = pg.load_run(pg.results("small", home=home)["run_id"][0], home=home)
    said, bank = run.messages("val"), open_bank(run.trained, "val")
    assert (said.symbols == bank.symbols).all()
    assert (said.sent == bank.gates).all()
    assert said.importance == pytest.approx(np.asarray(bank.scores))


def test_messages_of_ones_own_images(home: Path) -> None:
    run = pg.load_run(pg.results("small", home=home)["checkpoints"][0], home=home)
    pixels = open_images(run.experiment.data, "val").pixels
    assert isinstance(pixels, torch.Tensor)
    wanted = run.messages("val").symbols[:5]
    shown = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in pixels[:5]]
    for images in (shown, pixels[:5], pixels[:5] / 255):
        assert (run.messages(images).symbols == wanted).all()
    larger = torch.nn.functional.interpolate(pixels[:5] / 255, scale_factor=2.0)
    assert run.messages(larger).symbols.shape == wanted.shape
    with pytest.raises(ValueError, match=r"\(n, 3, h, w\), got \(3, "):
        run.messages(pixels[0])


def test_an_evaluation_gives_its_metrics_and_stores_nothing(home: Path) -> None:
    run = pg.load_run(pg.results("small", home=home)["run_id"][0], home=home)
    before = pg.results("small", home=home)
    assert 0 <= run.evaluate("knn", k=5).metrics["knn/top1_k5_T0.07"] <= 1
    assert pg.results("small", home=home).columns.equals(before.columns)
    with pytest.raises(ValueError, match="did you mean knn"):
        run.evaluate("kn")


def test_a_single_run(tmp_path: Path) -> None:
    experiment = pg.load_experiment(write_experiment(tmp_path, {}), ["epochs=1"])
    done = pg.train(experiment, home=tmp_path / "home")
    assert done.run_id is not None
    assert pg.load_run(done.folder, home=tmp_path / "home").run_id == done.run_id
    assert pg.train(experiment, home=tmp_path / "home").reused


def test_mistakes_are_typed_exceptions(home: Path, tmp_path: Path) -> None:
    with pytest.raises(pg.ConfigError, match="no file nowhere"):
        pg.load_sweep("nowhere")
    with pytest.raises(pg.ConfigError, match="list of sweeps"):
        pg.load_sweep("paper")
    with pytest.raises(pg.ConfigError, match=r"epohcs: unknown key"):
        pg.load_sweep("smoke", ["experiment.epohcs=1"])
    with pytest.raises(ValueError, match="no run of a sweep called other"):
        pg.results("other", home=home)
    with pytest.raises(ValueError, match="stands for 4 runs"):
        pg.load_run("small", home=home)
    with pytest.raises(pg.InfrastructureError):
        pg.results("small", home=_damaged(tmp_path))


def _damaged(folder: Path) -> Path:
    (folder / "mlflow.db").write_text("no database")
    return folder


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, pg_platform as pg; pg.load_experiment; pg.ConfigError; "
        "print([m for m in ('torch', 'ray', 'mlflow', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_examples_of_docstrings() -> None:
    failed, tried = doctest.testmod(api)
    assert tried > 0
    assert failed == 0
