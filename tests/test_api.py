"""The platform from Python, by its public names: what it gives, what it raises, what it leaves."""

from __future__ import annotations

import doctest
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pg_platform as pg
from pg_platform import api
from pg_platform.data.images import open_images
from pg_platform.driver.control import SIGNALS
from pg_platform.evaluation import messages as messages_module
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.messages import play_images
from tests.local_sweeps import command, written
from tests.small import environment, write_experiment

DIGITS = Path(__file__).parents[1] / "examples" / "digits.yaml"
HEAVY = {"torch", "ray", "mlflow", "pandas", "numpy", "scipy", "sklearn", "matplotlib", "rich"}
PARTS = {"pg_platform.api", "pg_platform.config.errors"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished sweep of two vocabularies and two seeds."""
    folder = tmp_path_factory.mktemp("api")
    sweep = pg.load_sweep(written(folder, {"seeds": 2}))
    done = pg.run_sweep(sweep, local=True, home=folder / "home", output="quiet")
    assert len(done.verdict.finished) == 4
    return folder / "home"


@pytest.fixture(scope="module")
def run(home: Path) -> pg.Run:
    return pg.load_run(str(pg.results("small", home=home).run_id[0]), home=home)


def test_the_package_is_light_until_a_name_is_used(tmp_path: Path) -> None:
    program = (
        "import sys, pg_platform\n"
        "print(sorted(sys.modules.keys() & set(sys.argv[1:])))\n"
        "pg_platform.load_sweep('smoke'); pg_platform.ConfigError\n"
        "print(sorted(sys.modules.keys() & set(sys.argv[1:])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *HEAVY, *PARTS],
        capture_output=True,
        text=True,
        check=True,
        env=environment(tmp_path),
    )
    assert done.stdout.splitlines() == ["[]", str(sorted(PARTS))]


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name for name in pg.__all__ if getattr(pg, name) is None} == set()
    assert set(pg.__all__) <= set(dir(pg))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pg.nothing  # noqa: B018


@pytest.mark.parametrize("module", [api, messages_module])
def test_the_examples_of_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_train_gives_a_run_that_can_be_loaded_and_is_not_run_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in SIGNALS]
    experiment = pg.load_experiment(write_experiment(tmp_path, {}), {"epochs": 1})
    assert experiment.epochs == 1
    done = pg.train(experiment, "one", local=True, home=tmp_path / "home")
    assert (len(done.verdict.finished), done.reused) == (1, False)
    assert "one  finished 1/1" in capfd.readouterr().out
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert pg.train(experiment, "one", local=True, home=tmp_path / "home").reused
    assert done.run_id is not None
    by_id = pg.load_run(done.run_id, home=tmp_path / "home")
    by_folder = pg.load_run(done.folder, home=tmp_path / "home")
    assert (by_id.run_id, by_id.checkpoint) == (done.run_id, by_folder.checkpoint)
    assert by_id.experiment == experiment
    assert not by_id.method.training  # type: ignore[attr-defined]


def test_a_trial_that_fails_raises_and_says_where_its_log_lies(tmp_path: Path) -> None:
    sets = {"optimizer": {"kind": "sgd", "lr": 1e30}}
    experiment = pg.load_experiment(write_experiment(tmp_path, sets))
    with pytest.raises(pg.TrialFailedError, match="FloatingPointError") as raised:
        pg.train(experiment, local=True, home=tmp_path / "home", output="quiet")
    log = raised.value.result.folder / "errors.log"
    assert str(log) in str(raised.value)
    assert "Traceback" in raised.value.error
    assert "Traceback" in log.read_text()


def test_all_runs_in_another_thread_which_has_no_signals(tmp_path: Path) -> None:
    experiment = pg.load_experiment(write_experiment(tmp_path, {"epochs": 1}))
    done: list[pg.TrainResult] = []
    home = tmp_path / "home"

    def work() -> None:
        done.append(pg.train(experiment, local=True, home=home, output="quiet"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(done[0].verdict.finished) == 1


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    file, script = write_experiment(tmp_path, {"epochs": 1}), tmp_path / "script.py"
    script.write_text(
        "import sys, pg_platform as pg\n"
        "print('the script')\n"
        f"pg.train(pg.load_experiment({str(file)!r}), local=True)\n"
        "print('ray' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(tmp_path / "home"),
    )
    assert done.stdout.splitlines().count("the script") == 1
    assert done.stdout.splitlines()[-1] == "False"


def test_a_plan_says_what_is_reused(home: Path) -> None:
    sweep = pg.load_sweep(written(home.parent, {"seeds": 3}))
    dry = pg.plan(sweep, home=home)
    assert dry.as_dict()["counts"] == {"reused": 4, "run": 2}


def test_results_have_a_row_a_trial_with_its_values_and_metrics(home: Path) -> None:
    rows = pg.results("small", home=home)
    assert list(rows.state) == ["finished"] * 4
    assert list(zip(rows.vocab_size, rows.seed, strict=True)) == [(2, 0), (2, 1), (8, 0), (8, 1)]
    assert rows["val/top1_pool32"].between(0, 1).all()
    assert rows["train/loss"].notna().all()
    assert rows.id.is_unique


def test_results_have_a_row_a_point_with_the_statistics_of_its_trials(home: Path) -> None:
    trials, points = pg.results("small", home=home), pg.results("small", by="point", home=home)
    means = trials.groupby("vocab_size")["val/top1_pool32"].mean()
    assert list(points["mean"]) == pytest.approx(list(means))
    assert list(points.n) == [2, 2]
    assert "val/top1_pool32" in points.attrs["answer"]
    assert {"sd", "ci_low", "ci_high", "difference", "p", "verdict"} <= set(points.columns)
    table = command(home, "pg-report", "small")
    assert table.exit_code == 0


def test_trials_that_have_not_run_are_open(home: Path) -> None:
    sweep = pg.load_sweep(written(home.parent, {"seeds": 3}))
    rows = pg.results(sweep, home=home)
    assert list(rows.state) == ["finished", "finished", "open"] * 2
    assert rows["val/top1_pool32"].isna().sum() == 2


def test_messages_are_those_that_evaluations_read(run: pg.Run) -> None:
    said = run.messages()
    bank = open_bank(run.trained, "val")
    assert np.array_equal(said.symbols, bank.symbols)
    assert np.array_equal(said.gates, bank.gates)
    assert said.importance == pytest.approx(np.asarray(bank.scores))
    assert len(said) == len(said.ids) == len(bank.symbols)
    assert [patch for patch, _ in said.sent(0)] == list(np.flatnonzero(bank.gates[0]))


def test_messages_of_pixels_are_those_of_the_split_they_are_from(run: pg.Run) -> None:
    images = open_images(run.experiment.data, "val")
    assert isinstance(images.pixels, torch.Tensor)
    some = images.pixels[:5]
    whole = run.messages()
    for given in (some, some.float() / 255):
        assert np.array_equal(run.messages(given).symbols, whole.symbols[:5])
    assert np.array_equal(run.messages(some[0]).symbols, whole.symbols[:1])


def test_messages_of_pil_images_are_those_of_the_files(run: pg.Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = [
        Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(4)
    ]
    for split in ("train", "val"):
        for i, picture in enumerate(pictures):
            place = tmp_path / split / "things"
            place.mkdir(parents=True, exist_ok=True)
            picture.save(place / f"{i}.png")
    said = run.messages(pictures)
    of_files = run.messages(tmp_path, split="val")
    assert np.array_equal(said.symbols, of_files.symbols)
    assert np.array_equal(said.gates, of_files.gates)
    assert list(of_files.ids) == [f"things/{i}.png" for i in range(4)]
    assert np.array_equal(run.messages(pictures[0]).symbols, said.symbols[:1])


def test_sent_patches_are_outlined_with_their_symbols(run: pg.Run) -> None:
    said = run.messages()
    figure = said.figure(range(3), columns=3)
    for image, axes in enumerate(figure.axes):
        sent = said.sent(image)
        assert [text.get_text() for text in axes.texts] == [" ".join(map(str, s)) for _, s in sent]
        corners = [patch.get_xy() for patch in axes.patches]  # type: ignore[attr-defined]
        assert corners == [(patch % 2 * 8 - 0.5, patch // 2 * 8 - 0.5) for patch, _ in sent]
    assert said.pixels([0]).shape == (1, 16, 16, 3)


def test_an_evaluation_gives_what_pg_eval_keeps(run: pg.Run, home: Path) -> None:
    found = run.evaluate("success")
    assert run.run_id is not None
    told = command(home, "pg-eval", "success", run.run_id)
    assert "computed before" in told.stdout
    assert found.metrics
    for value in found.metrics.values():
        assert f"{value:.4f}" in told.stdout


def test_what_is_wrong_is_raised_by_its_kind(run: pg.Run, home: Path, tmp_path: Path) -> None:
    with pytest.raises(pg.ConfigError, match=r"no file nowhere\.yaml"):
        pg.load_experiment("nowhere.yaml")
    with pytest.raises(pg.ConfigError, match=r"vocab_size\.yaml"):
        pg.load_sweep("vocab_sise")
    with pytest.raises(pg.ConfigError, match=r"list of sweeps; load one of .*batch_size"):
        pg.load_sweep("paper")
    with pytest.raises(pg.ConfigError, match=r"epochs: wants a whole number, got 'many'"):
        pg.load_sweep("smoke", {"experiment.epochs": "many"})
    with pytest.raises(pg.ConfigError, match="leave one out"):
        pg.run_sweep(pg.load_sweep("smoke"), local=True, address="auto", home=tmp_path)
    data = {"kind": "image_folder", "path": str(tmp_path / "gone"), "image_size": 16}
    sets = {"data": data, "epochs": 1}
    with pytest.raises(pg.DataError, match="gone"):
        pg.train(pg.load_experiment(DIGITS, sets), local=True, home=home)
    with pytest.raises(pg.DataError, match=r"no folder .*gone"):
        run.messages(tmp_path / "gone")
    with pytest.raises(pg.CheckpointError, match="no checkpoint here"):
        pg.load_run(tmp_path, home=home)
    with pytest.raises(pg.ConfigError, match="kk"):
        run.evaluate("knn", kk=3)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(2, 1, 16, 16), r"wants a tensor \(n, 3, h, w\), got float32 \(2, 1, 16, 16\)"),
        (torch.full((1, 3, 16, 16), 2.0), r"wants uint8, or floats in \[0, 1\]"),
        ([], "got an empty list"),
        (3, "got int"),
    ],
)
def test_images_of_another_form_are_refused(run: pg.Run, images: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        run.messages(images)  # type: ignore[arg-type]


def test_a_name_that_is_not_one_run_is_refused(run: pg.Run, home: Path) -> None:
    with pytest.raises(ValueError, match="stands for 4 runs"):
        pg.load_run("small", home=home)
    with pytest.raises(ValueError, match="no run id, no folder"):
        pg.load_run("0123", home=home)
    with pytest.raises(ValueError, match=r"there are: .*knn"):
        run.evaluate("nothing")
    with pytest.raises(ValueError, match="pg-sweep first"):
        pg.results("smoke", home=home)
    with pytest.raises(ValueError, match="'trial' or 'point'"):
        pg.results("small", by="seed", home=home)  # type: ignore[arg-type]


def test_what_is_played_is_what_is_said(run: pg.Run) -> None:
    played = play_images(run.trained, open_images(run.experiment.data, "train"))
    for said in (run.messages("train"), run.messages(split="train")):
        assert np.array_equal(said.symbols, played.ids.numpy())
