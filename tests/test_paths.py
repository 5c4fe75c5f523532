"""A relative path is meant from the folder where the command runs, whoever reads it later."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from evals import detection, export, knn, patch_subset, saliency, topsim_classes
from pg_platform.cli.evaluate import evaluate as pg_eval
from pg_platform.cli.pack import pack as pg_pack
from pg_platform.cli.sweep import sweep as pg_sweep
from pg_platform.cli.train import train as pg_train
from pg_platform.config.experiment import Cifar10, ImageFolder, Packed, Parquet
from pg_platform.config.overrides import load_options
from pg_platform.config.paths import store_root
from pg_platform.config.section import ConfigError
from pg_platform.data.identity import identity
from pg_platform.data.listing import parquet_files
from pg_platform.probes.pretrained import DOWNLOAD
from pg_platform.sweep.load import Sweep, load_experiment, load_sweep
from pg_platform.sweep.trials import plan
from pg_platform.training import checkpoint
from tests.commands import run
from tests.pictures import encoded_digits, write_folder, write_parquet
from tests.shipped import files_with_imagenet, shrunk, write_imagenet
from tests.small import SMALL, environment, merged
from tests.small_sweeps import runs

SHIPPED = files_with_imagenet()
PHOTOS = {"kind": "image_folder", "path": "photos", "image_size": 16, "val_fraction": 0.3}
FEW = merged(
    {**SMALL, "data": PHOTOS},
    {
        **{"epochs": 1, "batch_size": 16, "validation": {"pool_size": 8}},
        **{"speaker": {"rank": {"width": 16}}, "listener": {"vision": {"width": 16}}},
    },
)
"""An experiment on a folder `photos` in the folder of the command."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a command is given."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of commands that run in this process."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def invoke(command: click.Command, *arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def written(folder: Path, content: Mapping[str, Any], name: str = "small") -> Path:
    """A YAML file."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(dict(content)))
    return file


def sweep_file(folder: Path, experiment: Mapping[str, Any], **more: Any) -> Path:
    """A sweep of two vocabularies, or of what `more` says."""
    varied = {"parameters": {"speaker.vocab_size": {"values": [2, 8]}}}
    return written(folder, {"name": "small", "experiment": experiment, **varied, **more}, "sweep")


def data_of(folder: Path, path: str, kind: str = "image_folder", *sets: str) -> Any:
    """The section data of a file elsewhere than in the current folder."""
    elsewhere = folder.parent / "files"
    elsewhere.mkdir(exist_ok=True)
    file = elsewhere / "experiment.yaml"
    file.write_text(yaml.safe_dump({"data": {"kind": kind, "path": path}}))
    return load_experiment(file, sets).data


class TestWhatIsRead:
    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("photos", "HERE/photos"),
            ("./photos", "HERE/photos"),
            ("../photos", "ABOVE/photos"),
            ("../../photos", "HIGHER/photos"),
            ("..", "ABOVE"),
            (".", "HERE"),
            ("a/../b", "HERE/a/../b"),  # a may be a link, and then that is not HERE/b
            ("/data/photos", "/data/photos"),
            ("/data/./photos/", "/data/./photos/"),
            ("~/photos", "HOME/photos"),
            ("~", None),
            ("~nobody-of-that-name/photos", "HERE/~nobody-of-that-name/photos"),
            ("./~/photos", "HERE/~/photos"),
            ("s3://bucket/pack", "s3://bucket/pack"),
            ("gs://bucket/../pack", "gs://bucket/../pack"),
            ("file:///data/pack", "file:///data/pack"),
            ("$HOME/photos", "HERE/$HOME/photos"),
        ],
    )
    def test_a_path_is_meant_from_the_folder_of_the_command(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str | None
    ) -> None:
        monkeypatch.setenv("HOME", "/home/of/somebody")
        names = {
            "HERE": str(here),
            "ABOVE": str(here.parent),
            "HIGHER": str(here.parent.parent),
            "HOME": "/home/of/somebody",
        }
        if meant is None:  # in YAML a bare ~ is null
            with pytest.raises(ConfigError, match=r"data\.path: wants text, got ~"):
                load_experiment(_unquoted(here, written), [])
            return
        for name, folder in names.items():
            if meant == name or meant.startswith(f"{name}/"):
                meant = folder + meant.removeprefix(name)
                break
        assert data_of(here, written).path == meant
        assert data_of(here, "/other", "image_folder", f"data.path={written}").path == meant

    def test_every_key_of_the_data_that_is_a_path(self, here: Path) -> None:
        parquet = data_of(here, "train.parquet", "parquet", "data.val_path=../val.parquet")
        assert parquet == Parquet(
            kind="parquet", path=f"{here}/train.parquet", val_path=f"{here.parent}/val.parquet"
        )
        assert data_of(here, "pack", "packed") == Packed(kind="packed", path=f"{here}/pack")
        cifar = data_of(here, "cifar", "cifar10", "speaker.patch_size=8")
        assert cifar == Cifar10(kind="cifar10", path=f"{here}/cifar")

    def test_nothing_else_is_a_path(self, here: Path) -> None:
        columns = ("data.image_column=image", "data.label_column=../label")
        data = data_of(here, "x", "parquet", *columns)
        assert (data.image_column, data.label_column) == ("image", "../label")

    def test_a_bad_value_is_shown_as_it_was_written(self, here: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.path: wants text of at least 1 character"):
            data_of(here, "")

    def test_the_folder_of_the_command_is_gone(
        self, here: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        file = here.parent / "experiment.yaml"
        file.write_text("data: {kind: image_folder, path: photos}\n")
        here.rmdir()
        with pytest.raises(ConfigError, match=r"yaml:1:34: data\.path: 'photos' is relative, and"):
            load_experiment(file, [])
        assert load_experiment(file, ["data.path=/photos"]).data == ImageFolder(
            kind="image_folder", path="/photos"
        )
        assert capfd.readouterr().err == ""

    def test_the_options_of_evaluations_that_are_paths(self, here: Path) -> None:
        assert load_options(detection.Options, ["voc=VOC"]).voc == f"{here}/VOC"
        assert load_options(export.Options, ["to=../out"]).to == f"{here.parent}/out"
        assert load_options(export.Options, []).to is None
        for module in (patch_subset, saliency):
            assert load_options(module.Options, ["weights=w.pt"]).weights == f"{here}/w.pt"
            assert load_options(module.Options, [f"weights={DOWNLOAD}"]).weights == DOWNLOAD
            assert load_options(module.Options, ["weights=./download"]).weights == str(
                here / "download"
            )
        asked = load_options(topsim_classes.Options, ["weights=w.pt", "distance=lpips_vgg"])
        assert asked.weights == f"{here}/w.pt"

    def test_the_home_of_results(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for written, meant in (("../home", here.parent / "home"), ("/h", Path("/h"))):
            monkeypatch.setenv("PG_HOME", written)
            assert store_root() == meant
        monkeypatch.setenv("PG_HOME", "s3://bucket/home")
        with pytest.raises(ConfigError, match="PG_HOME: wants a folder of this machine"):
            store_root()

    def test_what_is_there_as_it_is_written_is_no_pattern(self, here: Path) -> None:
        """A relative path becomes part of one with the names of all folders around it."""
        folder = here / "runs[1]"
        rows = [data for data, _ in encoded_digits(2, "png", (8, 8))]
        for name in ("a.parquet", "b.parquet", "sub/c.parquet", "d[2].parquet"):
            write_parquet(folder / name, rows, [0, 1])
        listed = {
            "a.parquet": ["a.parquet"],
            "?.parquet": ["a.parquet", "b.parquet"],
            "d[2].parquet": ["d[2].parquet"],
            ".": ["a.parquet", "b.parquet", "d[2].parquet", "sub/c.parquet"],
            "**/*.parquet": ["a.parquet", "b.parquet", "d[2].parquet", "sub/c.parquet"],
        }
        for pattern, names in listed.items():
            found = parquet_files(str(folder / pattern), "data.path")
            assert [str(file.relative_to(folder)) for file in found] == names


def _unquoted(folder: Path, path: str) -> Path:
    file = folder / "experiment.yaml"
    file.write_text(f"data: {{kind: image_folder, path: {path}}}\n")
    return file


SWEEP = """
name: folders
experiment: {data: {kind: image_folder, path: a, image_size: 16}, speaker: {patch_size: 8}}
scales:
  other: {experiment.data.path: ../d, parameters.data.path.values: [e, f], baseline: null}
"""
POINTS = {
    "parameters": "parameters: {data.path: {values: [b, ../c]}}\nbaseline: {data.path: ../c}",
    "sections": """
parameters: {data: {values: [{kind: image_folder, path: b}, {kind: image_folder, path: ../c}]}}
baseline: {data: {kind: image_folder, path: ../c}}""",
    "include": "method: points\ninclude: [{data.path: b}, {data.path: ../c}]",
    "ladder": "method: ladder\nladder: [{data.path: b}, {data.path: ../c}]",
}


class TestSweepFiles:
    @pytest.mark.parametrize("how", POINTS)
    def test_wherever_a_sweep_has_a_path(
        self, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        file = tmp_path / "sweep.yaml"
        file.write_text(SWEEP + POINTS[how])
        sweep = load_sweep(file, [])
        wanted = [f"{here}/b", f"{here.parent}/c"]
        if how == "ladder":
            wanted = [f"{here}/a", *wanted]
        assert paths(sweep) == wanted
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        stored = elsewhere / "stored.yaml"
        stored.write_text(sweep.source)
        monkeypatch.chdir(elsewhere)
        again = load_sweep(stored, [])
        assert again.experiments == sweep.experiments
        assert again.points == sweep.points
        assert again.file.baseline == sweep.file.baseline
        if how == "parameters":
            scaled = load_sweep(stored, [], "other")
            assert paths(scaled) == [f"{here}/e", f"{here}/f"]

    @pytest.mark.parametrize(
        ("condition", "column"),
        [
            ("data.path == 'b'", 14),
            ("'b' == data.path", 1),
            ("(data.path) != 'b'", 16),
            ("epochs == 1 or not (data.path in ['/x', 'b'])", 41),
            ("data.path == '~/b'", 14),
        ],
    )
    def test_a_condition_on_a_relative_path_is_refused(
        self, here: Path, condition: str, column: int
    ) -> None:
        """It would never hold, and leave nothing out."""
        file = here / "sweep.yaml"
        file.write_text(SWEEP + POINTS["parameters"] + f'\nexclude: ["{condition}"]\n')
        told = rf"yaml:\d+:\d+: exclude\[0\]: column {column}: data\.path is absolute"
        with pytest.raises(ConfigError, match=told):
            load_sweep(file, [])

    def test_a_condition_on_a_whole_path(self, here: Path) -> None:
        file = here / "sweep.yaml"
        whole = f"(data.path in ['{here}/b', '/x'] or data.kind == 'digits') and epochs == 100"
        file.write_text(SWEEP + POINTS["parameters"] + f'\nexclude: ["{whole}"]\n')
        assert paths(load_sweep(file, [])) == [f"{here.parent}/c"]

    def test_ids_are_those_of_the_contents(
        self, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_folder(here / "photos", 60)
        other = tmp_path / "other"
        shutil.copytree(here / "photos", other / "photos")
        file = sweep_file(tmp_path, FEW)
        found = []
        for folder in (here, other):
            monkeypatch.chdir(folder)
            found.append([trial.id for trial in plan(load_sweep(file, []), identity)])
        assert found[0] == found[1]


def paths(sweep: Sweep) -> list[str]:
    found = [experiment.data for experiment in sweep.experiments]
    assert all(isinstance(data, ImageFolder) for data in found)
    return [data.path for data in found if isinstance(data, ImageFolder)]


class TestComments:
    @pytest.mark.parametrize(
        "value",
        ["D/a #2", "#2", "'D/a' # 2", "[1, 2] # two", "{a: 1 # one\n}", "|  # x\n y"],
    )
    def test_a_value_is_never_cut_at_a_comment(self, here: Path, value: str) -> None:
        file = here / "experiment.yaml"
        file.write_text("data: {kind: image_folder, path: x}\n")
        with pytest.raises(ConfigError) as refused:
            load_experiment(file, [f"data.path={value}"])
        (told,) = refused.value.problems
        assert told.startswith(f"--set data.path={value}: data.path: '#' begins a comment")
        assert 'data.path="..."' in told

    @pytest.mark.parametrize(
        ("value", "meant"),
        [("'D/a #2'", "D/a #2"), ('"#2"', "#2"), ("D/a#2", "D/a#2")],
    )
    def test_a_sharp_that_is_no_comment_is_taken(self, here: Path, value: str, meant: str) -> None:
        assert data_of(here, "x", "image_folder", f"data.path={value}").path == f"{here}/{meant}"

    def test_everywhere_where_an_option_is_read(self, here: Path) -> None:
        for load, text in (
            (lambda text: load_options(detection.Options, [text]), "voc=VOC #1"),
            (lambda text: load_options(knn.Options, [text]), "k=5 # neighbours"),
            (lambda text: load_sweep(_sweep_file(here), [text]), "experiment.data.path=a #1"),
            (lambda text: load_sweep(_sweep_file(here), [text]), "question=what #1"),
        ):
            with pytest.raises(ConfigError, match="'#' begins a comment"):
                load(text)


def _sweep_file(folder: Path) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(SWEEP)
    return file


class TestHints:
    """The error where a folder is missing names the key of the command at hand."""

    @pytest.mark.parametrize(
        ("command", "arguments", "hint"),
        [
            (pg_train, ("{run}", "--local"), "--set data.path=FOLDER"),
            (pg_pack, ("{run}", "pack"), "--set data.path=FOLDER"),
            (pg_sweep, ("{sweep}", "--dry-run"), "--set experiment.data.path=FOLDER"),
            (
                pg_sweep,
                ("{varied}", "--dry-run"),
                "--set 'parameters.data.path.values=[FOLDER, ...]'",
            ),
        ],
        ids=["train", "pack", "dry-run", "varied"],
    )
    @pytest.mark.usefixtures("at_home")
    def test_a_folder_that_is_not_there(
        self,
        here: Path,
        tmp_path: Path,
        command: click.Command,
        arguments: Sequence[str],
        hint: str,
    ) -> None:
        files = {
            "run": written(tmp_path, FEW),
            "sweep": sweep_file(tmp_path, FEW),
            "varied": _varied(tmp_path),
        }
        done = invoke(command, *(part.format(**files) for part in arguments))
        assert done.exit_code == 2
        assert done.stderr == (
            f"error: data.path: no folder {here}/photos; say where it lies with {hint}\n"
        )

    def test_before_a_sweep_starts(self, here: Path, tmp_path: Path) -> None:
        home = tmp_path / "home"
        done = run(["pg-sweep", str(sweep_file(tmp_path, FEW))], home, folder=here)
        assert done.returncode == 2
        assert done.stderr.endswith("with --set experiment.data.path=FOLDER\n")
        assert not (home / "trials").exists()

    @pytest.mark.usefixtures("at_home")
    def test_the_hint_is_a_key_that_there_is(self, here: Path, tmp_path: Path) -> None:
        write_folder(here / "real", 60)
        for file, key in (
            (sweep_file(tmp_path, FEW), "experiment.data.path=real"),
            (_varied(tmp_path), "parameters.data.path.values=[real]"),
        ):
            done = invoke(pg_sweep, file, "--dry-run", "--set", key)
            assert done.exit_code == 0, done.stderr


def _varied(folder: Path) -> Path:
    (folder / "varied").mkdir()
    parameters = {"data.path": {"values": ["photos"]}}
    return sweep_file(folder / "varied", FEW, parameters=parameters)


class TestShippedSweeps:
    def test_those_on_images_of_a_folder(self) -> None:
        assert len(SHIPPED) == 8

    @pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
    def test_the_shipped_path_is_meant_from_the_folder_above_the_data(
        self, here: Path, file: Path
    ) -> None:
        imagenet = write_imagenet(here)
        sweep = load_sweep(file, shrunk(file)[1::2])
        assert set(paths(sweep)) == {str(imagenet)}
        assert len({trial.id for trial in plan(sweep, identity)}) == len(sweep.points)

    @pytest.mark.timeout(900)
    def test_a_shipped_sweep_runs_on_ray_from_the_folder_above_the_data(
        self, tmp_path: Path
    ) -> None:
        _run_shipped(next(file for file in SHIPPED if file.stem == "patch_size"), tmp_path)

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
    def test_every_shipped_sweep_runs_on_ray_from_the_folder_above_the_data(
        self, file: Path, tmp_path: Path
    ) -> None:
        _run_shipped(file, tmp_path)


def _run_shipped(file: Path, folder: Path) -> None:
    imagenet, home = write_imagenet(folder), folder / "home"
    done = run(["pg-sweep", file.stem, *shrunk(file)], home, patience=800, folder=folder)
    assert done.returncode == 0, done.stderr
    asked = load_sweep(file, shrunk(file)[1::2])
    found = runs(home, asked.name)
    assert len(found) == len(asked.points)
    for stored in found.values():
        assert stored.status == "FINISHED"
        assert stored.params["data.path"] == str(imagenet)
        assert stored.tags["pg.folder"] == str(folder)
        newest = checkpoint.latest(home / stored.tags["pg.checkpoints"])
        assert newest is not None
        kept = json.loads((newest / "experiment.json").read_text())
        assert kept["data"]["path"] == str(imagenet)


class TestRunsThatMoved:
    """A run trained in one folder is evaluated and continued from another."""

    def test_from_another_folder(
        self, here: Path, tmp_path: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_folder(here / "photos", 60)
        there = tmp_path / "there"
        write_folder(there / "photos", 50)  # other images, of the same relative name
        file = written(tmp_path, FEW)
        trained = invoke(pg_train, file, "--local")
        assert trained.exit_code == 0, trained.stderr
        (trial,) = (at_home / "trials").iterdir()
        monkeypatch.chdir(there)
        form = ("form", trial, "--fresh")
        assert invoke(pg_eval, *form).exit_code == 0
        (bank,) = (trial / "banks").iterdir()
        shutil.copytree(here / "photos", tmp_path / "copies" / "photos")
        monkeypatch.chdir(tmp_path / "copies")
        told = invoke(pg_train, file, "--local")
        assert "finished before, not run again" in told.stdout  # the same images, elsewhere
        monkeypatch.chdir(there)
        (here / "photos").rename(tmp_path / "moved")
        lost = invoke(pg_eval, *form)
        assert lost.exit_code == 2
        hint = "say where it lies with --data path=FOLDER"
        assert f"data.path: no folder {here}/photos; {hint}\n" in lost.stderr
        found = invoke(pg_eval, *form, "--data", "path=../moved")
        assert found.exit_code == 0, found.stderr
        other = invoke(pg_eval, *form, "--data", "path=photos")
        assert other.exit_code == 2
        assert f"the images at {there}/photos are image_folder-" in other.stderr
        assert list((trial / "banks").iterdir()) == [bank]

    def test_an_early_run_with_a_relative_path(
        self, here: Path, tmp_path: Path, at_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such a path means nothing elsewhere, where other images may lie under it."""
        write_folder(here / "photos", 60)
        there = tmp_path / "there"
        write_folder(there / "photos", 50)
        assert invoke(pg_train, written(tmp_path, FEW), "--local").exit_code == 0
        (trial,) = (at_home / "trials").iterdir()
        for kept in trial.glob("step-*/experiment.json"):
            kept.write_text(kept.read_text().replace(f"{here}/photos", "photos"))
            early = kept.with_name("progress.json")  # early checkpoints have no hashes
            early.write_text(json.dumps(json.loads(early.read_text()) | {"hashed": False}))
            kept.with_name("manifest.json").unlink()
        form = ("form", trial, "--fresh")
        assert invoke(pg_eval, *form).exit_code == 0
        monkeypatch.chdir(there)
        other = invoke(pg_eval, *form)
        assert other.exit_code == 2
        assert "--data path=FOLDER" in other.stderr
        known = invoke(pg_eval, *form, "--data", f"path={here}/photos")
        assert known.exit_code == 0, known.stderr

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ("folder=x", "wants KEY=PATH, where KEY is path or val_path"),
            ("path", "wants KEY=PATH"),
            ("path=", "wants KEY=PATH"),
        ],
    )
    @pytest.mark.usefixtures("at_home")
    def test_what_data_takes(self, given: str, told: str) -> None:
        done = invoke(pg_eval, "form", "x", "--data", given)
        assert done.exit_code == 2
        assert f"--data {given}: {told}" in done.stderr

    def test_images_that_lie_nowhere_have_not_moved(self, tmp_path: Path, at_home: Path) -> None:
        file = written(tmp_path, {**FEW, "data": SMALL["data"]})
        assert invoke(pg_train, file, "--local").exit_code == 0
        (trial,) = (at_home / "trials").iterdir()
        done = invoke(pg_eval, "form", trial, "--data", "path=x")
        assert done.exit_code == 2
        assert "are shapes and lie under no key path; leave it out" in done.stderr


class TestWhatIsWritten:
    def test_a_pack_and_what_is_said_of_it(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_folder(here / "photos", 60)
        file = written(here, FEW)
        made = invoke(pg_pack, file, "../packs/one")
        assert made.exit_code == 0, made.stderr
        pack = here.parent / "packs" / "one"
        assert (pack / "manifest.json").is_file()
        assert f"--set data.path={pack}\n" in made.stdout
        monkeypatch.setenv("HOME", str(pack.parent))
        checked = invoke(pg_pack, "--verify=~/one")
        assert checked.exit_code == 0, checked.stderr

    @pytest.mark.parametrize("arguments", [["{file}", "s3://b/pack"], ["--verify", "s3://b/pack"]])
    def test_no_pack_is_written_to_a_folder_that_is_called_s3(
        self, here: Path, arguments: Sequence[str]
    ) -> None:
        file = written(here, FEW)
        done = invoke(pg_pack, *(part.format(file=file) for part in arguments))
        assert done.exit_code == 2
        assert "wants a path of this machine, got s3://b/pack" in done.stderr
        assert [path.name for path in here.iterdir()] == [file.name]

    def test_a_relative_home_is_the_same_in_the_folder_of_a_worker(self, here: Path) -> None:
        program = (
            "import os\n"
            "from pg_platform.driver.environment import prepare\n"
            "from pg_platform.config.paths import store_root\n"
            "prepare(None)\n"
            "os.chdir('/')\n"
            "print(store_root())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(Path("home")),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout == f"{here}/home\n"

    @pytest.mark.slow
    def test_a_relative_home_is_one_home_for_all_workers(self, here: Path, tmp_path: Path) -> None:
        """A worker of Ray copies a pack from elsewhere below the home of the command."""
        write_folder(here / "photos", 60)
        source = written(here, FEW)
        made = invoke(pg_pack, source, "pack")
        assert made.exit_code == 0, made.stderr
        packed = {**PHOTOS, "kind": "packed", "path": f"file://{here}/pack"}
        file = sweep_file(tmp_path, {**FEW, "data": packed})
        done = run(["pg-sweep", str(file)], Path("home"), folder=here)
        assert done.returncode == 0, done.stderr
        assert len(list((here / "home" / "cache").glob("*/shard-*.bin"))) == 1
        found = runs(here / "home")
        assert {stored.params["data.path"] for stored in found.values()} == {packed["path"]}
        assert [path.name for path in here.rglob("cache")] == ["cache"]
