"""A report never makes an answer poorer, and two settings are never in one table."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pg_platform.driver.control import Control, Request
from pg_platform.driver.resume import Retry
from pg_platform.store.store import Store
from tests.local_sweeps import command, empty_home, kept, play, report, sweeps, trials, written


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_home(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def home(empty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(empty, tmp_path / "home"))


def test_a_report_is_of_the_sweep_as_it_was_run_last(tmp_path: Path, home: Path) -> None:
    """Seen as "0 of 8 trials finished", with the page of the finished sweep overwritten by that."""
    file = written(tmp_path)
    play(file, home, "experiment.epochs=2")
    name = "small (epochs=2)"
    before = kept(home, name)
    for asked in ([str(file)], ["small"], [name], [str(file), "--set", "experiment.epochs=2"]):
        told = report(home, *asked, "--to", str(tmp_path / "page.html"))
        assert f"sweep: {name}" in told
        assert "trials finished" not in told
        assert name in (tmp_path / "page.html").read_text()
    after = kept(home, name)
    assert after["tables/comparison.csv"] == before["tables/comparison.csv"]
    assert after["note"] == before["note"]


def test_the_store_is_enough_for_a_report(tmp_path: Path, home: Path) -> None:
    """The file and the images may be gone."""
    images = folder_of_images(tmp_path / "images")
    file = written(tmp_path)
    data = f"experiment.data={{kind: image_folder, path: {images}, image_size: 16}}"
    play(file, home, data, "experiment.validation.pool_size=2", "name=small")
    told = report(home, "small")
    file.unlink()
    shutil.rmtree(images)
    assert report(home, "small") == told
    other = command(home, "pg-report", "smoll")
    assert other.exit_code == 2
    assert "no file smoll" in other.stderr


def test_another_setting_is_another_sweep_with_runs_of_its_own(tmp_path: Path, home: Path) -> None:
    """Seen as 12 trials under one parent, two called alike, in curves of 6 and 2 epochs."""
    file = written(tmp_path)
    for epochs in (1, 2):
        play(file, home, f"experiment.epochs={epochs}")
    assert list(sweeps(home)) == ["small", "small (epochs=2)"]
    for name, told in (("small", "1"), ("small (epochs=2)", "2")):
        assert {run.params["epochs"] for run in trials(home, name).values()} == {told}
    assert len({run.experiment_id for run in sweeps(home).values()}) == 2
    assert "sweep: small (epochs=2)" in report(home, "small")
    plain = report(home, str(file), "--set", "experiment.epochs=1")
    assert "sweep: small\n" in plain
    play(file, home)
    assert "sweep: small\n" in report(home, "small")


@pytest.mark.slow
def test_more_seeds_and_values_extend_the_sweep(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    play(file, home)
    more = play(file, home, "seeds=2")
    assert [len(more.verdict.finished), len(more.standing.finished)] == [2, 2]
    wider = play(file, home, "seeds=2", "parameters.speaker.vocab_size.values=[2, 8, 32]")
    assert [len(wider.verdict.finished), len(wider.standing.finished)] == [2, 4]
    assert list(sweeps(home)) == ["small"]
    told = report(home, str(file))
    assert "V=32" in told
    assert "over 2 seeds" in told


def test_fewer_results_do_not_replace_more(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    play(file, home, "seeds=2")
    before = kept(home, "small")
    narrow = play(file, home)
    assert narrow.kept is not None
    assert "it has 4 results, this one 2" in narrow.kept
    assert kept(home, "small") == before
    page = tmp_path / "page.html"
    told = report(home, str(file), "--set", "seeds=1", "--to", str(page))
    assert "stays as it is: it has 4 results, this one 2" in told
    assert "one seed" in told
    assert "One seed per point" in page.read_text()
    assert kept(home, "small") == before


def test_a_sweep_that_comes_to_nothing_leaves_the_report_alone(tmp_path: Path, home: Path) -> None:
    """It asks for other seeds, and ends before the first of their trials."""
    file = written(tmp_path)
    play(file, home)
    before = kept(home, "small")
    with pytest.raises(ValueError, match="--local is one process"):
        play(file, home, "seeds=[5]", "resources.workers=2")
    assert kept(home, "small") == before
    assert "stays as it is: it has 2 results, this one 0" in report(home, "small")
    assert kept(home, "small") == before


def test_an_old_store_is_read_by_its_tables(tmp_path: Path, home: Path) -> None:
    """Runs of before have neither the number of results nor the name that variants share."""
    file = written(tmp_path)
    play(file, home, "seeds=2")
    with Store.open(home) as store:
        for tag in ("pg.results", "pg.family", "pg.begun", "pg.recipe"):
            store._client.delete_tag(sweeps(home)["small"].run_id, tag)
    before = kept(home, "small")
    assert "stays as it is: it has 4 results" in report(home, str(file), "--set", "seeds=1")
    assert kept(home, "small") == before
    assert "over 2 seeds" in report(home, "small")


def test_without_what_was_asked_the_file_stands_in(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    play(file, home)
    shutil.rmtree(next((home / "artifacts").rglob("config")))
    assert "sweep: small" in report(home, str(file))
    without = command(home, "pg-report", "small")
    assert without.exit_code == 2
    assert "give its file" in without.stderr


def test_afresh_the_sweep_of_before_stays_whole(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    play(file, home)
    before, old = kept(home, "small"), sweeps(home)["small"].run_id
    again = play(file, home, retry=Retry(fresh=True))
    assert len(again.verdict.finished) == 2
    assert sweeps(home)["small"].run_id != old
    assert len(trials(home, "small")) == 2
    with Store.open(home) as store:
        aside = store.look(old)
        assert aside.tags["pg.kind"] == "superseded"
        assert aside.tags["mlflow.note.content"] == before["note"]
        assert store.text(old, "report/page.html") == before["report/page.html"]


def test_an_edited_file_is_refused_with_how_to_say_it(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    play(file, home)
    file.write_text(file.read_text().replace("epochs: 1", "epochs: 3"))
    for extra in ([], ["--dry-run"], ["--set", "parameters.speaker.vocab_size.values=[64]"]):
        refused = command(home, "pg-sweep", str(file), *extra)
        assert refused.exit_code == 2, refused.stdout
        assert "epochs is 1 there and 3 here" in refused.stderr
        assert "--set name=" in refused.stderr
        assert "--fresh" in refused.stderr
    assert len(trials(home, "small")) == 2
    assert command(home, "pg-sweep", str(file), "--dry-run", "--fresh").exit_code == 0
    play(file, home, "name=other")
    assert {run.params["epochs"] for run in trials(home, "other").values()} == {"3"}


def test_other_images_under_one_path_are_another_sweep(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    play(file, home)
    with Store.open(home) as store:  # as if the images had been others
        for trial in trials(home, "small").values():
            store.tag(trial.run_id, {"pg.data": "others", "pg.trial_id": f"x{trial.name}"})
    refused = command(home, "pg-sweep", str(file))
    assert refused.exit_code == 2
    assert "the images are others" in refused.stderr


@pytest.mark.slow
def test_an_evaluation_is_of_the_variant_that_ran_last(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    for epochs in (1, 2):
        play(file, home, f"experiment.epochs={epochs}")
    with Store.open(home) as store:
        last = {run.params["epochs"] for run in store.finished_trials("small")}
        plain = store.finished_trials(sweeps(home)["small"].run_id)
        exact = store.finished_trials("small (epochs=2)")
    assert last == {"2"}
    assert {run.params["epochs"] for run in plain} == {"1"}
    assert len(exact) == 2
    done = command(home, "pg-eval", "form", "small")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("small (epochs=2), which ran last of the sweeps called small")


@pytest.mark.parametrize("scale", [None, "tiny"])
def test_a_list_of_sweeps_is_told_of_as_its_sweeps_ran_last(
    tmp_path: Path, home: Path, scale: str | None
) -> None:
    scales = {"tiny": {"experiment.epochs": 1, "name": "one_tiny"}}
    file = written(tmp_path, {"name": "one", "scales": scales}).rename(tmp_path / "one.yaml")
    both = tmp_path / "all.yaml"
    both.write_text("name: all\nsweeps: [one]\n")
    play(file, home, "experiment.epochs=2", scale=scale)
    chosen = [] if scale is None else ["--scale", scale]
    told = report(home, str(both), *chosen)
    assert "1 sweeps." in told
    page = tmp_path / "page.html"
    report(home, str(both), *chosen, "--to", str(page))
    family = "one" if scale is None else "one_tiny"
    assert f"{family} (epochs=2)" in page.read_text()
    assert "No result yet" not in page.read_text()


def folder_of_images(folder: Path) -> Path:
    """Two classes of 64 images each."""
    for number in range(128):
        file = folder / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 2 * number % 256)).save(file)
    return folder


@pytest.mark.slow
def test_a_search_is_reported_with_the_points_that_it_chose(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path, {"method": "bayes", "samples": 2})
    play(file, home, "experiment.epochs=2")
    name = "small (epochs=2)"
    before = kept(home, name)
    assert len(trials(home, name)) == 2
    for asked in (["small"], [str(file), "--set", "experiment.epochs=2"]):
        assert "trials finished" not in report(home, *asked)
        assert kept(home, name)["tables/comparison.csv"] == before["tables/comparison.csv"]
    file.write_text(file.read_text().replace("patch_size: 8", "patch_size: 4"))
    refused = command(home, "pg-sweep", str(file), "--set", "experiment.epochs=2", "--dry-run")
    assert refused.exit_code == 2
    assert "speaker.patch_size is 8 there and 4 here" in refused.stderr


def test_the_variant_that_runs_is_asked_where_nothing_is_set(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path)
    variant = Control(home, "small (epochs=2)")
    for control, running in ((Control(home, "small"), False), (variant, True)):
        control.open()
        control.write({"running": running, "trials": []}, now=True)
    told = command(home, "pg-sweep", str(file), "--status")
    assert told.stdout.startswith("small (epochs=2): running")
    exact = command(home, "pg-sweep", str(file), "--status", "--set", "experiment.epochs=1")
    assert exact.stdout.startswith("small: not running")
    assert command(home, "pg-sweep", str(file), "--stop").exit_code == 0
    assert list(variant.requests()) == [Request("stop")]
    other = Control(home, "small (epochs=3)")
    other.open()
    other.write({"running": True, "trials": []}, now=True)
    unclear = command(home, "pg-sweep", str(file), "--stop")
    assert unclear.exit_code == 2
    assert "small (epochs=2) and small (epochs=3) run; say with --set" in unclear.stderr
