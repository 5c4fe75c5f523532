"""Classes and evaluations from outside the package: the examples, and files that are no good."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from pg_platform.config.custom import forget
from pg_platform.config.experiment import Experiment
from pg_platform.config.section import ConfigError
from pg_platform.data.identity import identity
from pg_platform.data.images import open_images
from pg_platform.driver.dry_run import check_custom
from pg_platform.evaluation.trained import load_trained
from pg_platform.methods import build
from pg_platform.sweep.load import load_experiment, load_sweep
from pg_platform.sweep.trials import plan, single, trial_folder
from pg_platform.training.checkpoint import CheckpointError
from tests.commands import run
from tests.local_sweeps import command, kept, play, report, trials
from tests.small import SMALL, merged

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = ("experiment.epochs=1", "seeds=1")
HEAD = """
import torch
from pydantic import PositiveInt
from torch import nn
from pg_platform.config.section import Section
from pg_platform.data.image_set import Images
from pg_platform.game.patch_game import PatchGame
"""
PARTS = (
    HEAD
    + """
class Rank(nn.Module):
    class Options(Section):
        width: PositiveInt = 4
        file: str = ""

    def __init__(self, experiment, options):
        super().__init__()
        self.scores = nn.Linear(3, experiment.patches * options.width, bias=False)
        self.shape = (options.width, experiment.patches)

    def forward(self, images):
        return self.scores(images.mean(dim=(2, 3))).unflatten(1, self.shape).mean(dim=1)

class Symbol(nn.Module):
    def __init__(self, experiment, options):
        super().__init__()
        speaker = experiment.speaker
        self.shape = (experiment.patches, speaker.symbols_per_patch, speaker.vocab_size)
        self.logits = nn.Linear(3, torch.Size(self.shape).numel())

    def forward(self, images):
        return self.logits(images.mean(dim=(2, 3))).unflatten(1, self.shape)

class Gate(nn.Module):
    def __init__(self, experiment, options):
        super().__init__()
        self.patches = experiment.patches

    def forward(self, images, noise):
        sent = torch.ones(len(images), self.patches, device=images.device)
        sent[:, 0] = 0
        return sent, torch.zeros_like(sent)

class Vision(nn.Module):
    def __init__(self, experiment, options):
        super().__init__()
        self.width = 6
        self.layer = nn.Linear(3, self.width)

    def forward(self, images):
        return self.layer(images.mean(dim=(2, 3)))

class Method(PatchGame):
    class Options(Section):
        scale: float = 1.0

    def __init__(self, experiment, options):
        super().__init__(experiment)
        self.scale = options.scale

    def forward(self, views, *, progress, noise):
        loss, metrics = super().forward(views, progress=progress, noise=noise)
        return self.scale * loss, metrics

class Data:
    class Options(Section):
        count: PositiveInt = 300

    def __init__(self, data, options):
        self.data, self.options = data, options

    def images(self, split):
        count = self.options.count if split == "train" else 100
        size = (count, 3, self.data.image_size, self.data.image_size)
        pixels = torch.randint(256, size, generator=torch.Generator().manual_seed(count))
        ids = [f"{split}-{n}" for n in range(count)]
        return Images(("one",), torch.zeros(count).long(), ids, pixels.to(torch.uint8))

class NotAModule:
    def forward(self, images): ...

class NoForward(nn.Module):
    def __init__(self, experiment, options): super().__init__()

class Alone(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, images): ...

class Untyped(nn.Module):
    Options = dict
    def forward(self, images): ...

class Short(Rank):
    def forward(self, images):
        return super().forward(images)[:, :1]

class Breaks(Rank):
    def forward(self, images):
        return images + self.nothing
"""
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with parts.py, which later tests find nothing of."""
    (tmp_path / "parts.py").write_text(PARTS)
    before = set(sys.modules), list(sys.path)
    yield tmp_path
    for name in set(sys.modules) - before[0]:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path[:] = before[1]
    forget()


def written(folder: Path, text: str) -> Path:
    """A file of an experiment, small in all that `text` does not say."""
    path = folder / "f.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_experiment(written(folder, text), [])
    return [line.replace(str(folder), "HERE") for line in raised.value.problems]


def rank(folder: Path, target: str, **options: object) -> Experiment:
    """A small experiment whose rank network is a class of parts.py."""
    own = {"kind": "custom", "target": f"parts:{target}", "width": None, "options": options}
    small = merged(SMALL, {"speaker": {"rank": own}})
    del small["speaker"]["rank"]["width"]
    return load_experiment(written(folder, yaml.safe_dump(small)), [])


def of_parts(folder: Path) -> Experiment:
    """A small experiment all of whose parts come from outside."""
    own = {key: {"kind": "custom", "target": f"parts:{key.title()}"} for key in PLACES}
    small = merged(SMALL, {})
    small["speaker"] = small["speaker"] | {key: own[key] for key in ("symbol", "rank", "gate")}
    small["listener"] = small["listener"] | {"vision": own["vision"]}
    small |= {"method": own["method"], "data": {**own["data"], "image_size": 16}}
    return load_experiment(written(folder, yaml.safe_dump(small)), [])


PLACES = ("symbol", "rank", "gate", "vision", "method", "data")


class TestExamples:
    def test_a_rank_network_of_ones_own(self, folder: Path) -> None:
        shutil.copytree(EXAMPLES / "own_speaker", folder / "speaker")
        result = play(folder / "speaker" / "sweep.yaml", folder / "home", *SHORT)
        assert len(result.verdict.finished) == 3
        assert not result.verdict.failed
        run_ = trials(folder / "home", "own-speaker (epochs=1)")["filters=8 seed=0"]
        assert run_.params["speaker.rank.target"] == "edges:EdgeRank"
        assert run_.params["speaker.rank.options.filters"] == "8"
        trained = load_trained(
            trial_folder(folder / "home", result.trials[-1]), torch.device("cpu")
        )
        assert trained.game.speaker.gates.get_submodule("rank.learned").out_channels == 8

    def test_a_data_set_and_an_evaluation_of_ones_own(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("own_dataset", "own_eval.py"):
            copy = shutil.copytree if (EXAMPLES / name).is_dir() else shutil.copy
            copy(EXAMPLES / name, folder / name)
        home = folder / "home"
        result = play(folder / "own_dataset" / "sweep.yaml", home, *SHORT)
        assert len(result.verdict.finished) == 2
        name = "own-dataset (epochs=1)"
        monkeypatch.chdir(folder)
        arguments = ("./own_eval.py", name, "--set", "images=50")
        done = command(home, "pg-eval", *arguments)
        assert done.exit_code == 0, done.stderr
        found = trials(home, name)["V=16 seed=0"].metrics
        assert 0 <= found["own_eval/equal_between"] <= 1
        again = command(home, "pg-eval", *arguments)
        assert again.stdout.count("computed before") == 2
        (folder / "own_eval.py").write_text((folder / "own_eval.py").read_text() + "\n# edited\n")
        edited = command(home, "pg-eval", *arguments)
        assert "computed before" not in edited.stdout
        bad = command(home, "pg-eval", *arguments[:-1], "picture=3")
        assert bad.exit_code == 2
        assert "picture: unknown key; known keys: images" in bad.stderr

    @pytest.mark.slow
    def test_on_ray_in_another_folder(self, folder: Path) -> None:
        shutil.copytree(EXAMPLES / "own_speaker", folder / "speaker")
        shutil.copy(EXAMPLES / "own_eval.py", folder / "own_eval.py")
        sets = [part for text in SHORT for part in ("--set", text)]
        arguments = ["pg-sweep", "speaker/sweep.yaml", *sets]
        done = run(arguments, folder / "home", folder=folder)
        assert done.returncode == 0, done.stderr
        assert "3 trials: 3 run now" in done.stdout
        os.mkdir(folder / "elsewhere")
        again = run(
            ["pg-sweep", "../speaker/sweep.yaml", *sets],
            folder / "home",
            folder=folder / "elsewhere",
        )
        assert "3 finished before" in again.stdout, again.stderr


class TestParts:
    def test_each_place_takes_a_class(self, folder: Path) -> None:
        experiment = of_parts(folder)
        assert [key for key, _ in experiment.custom()] == [
            *("method", "data", "speaker.symbol", "speaker.rank", "speaker.gate"),
            "listener.vision",
        ]
        check_custom([experiment])
        method = build(experiment)
        assert type(method).__name__ == "Method"
        assert type(method.speaker.gates).__name__ == "Gate"
        assert method.features(torch.rand(2, 3, 16, 16)).shape == (2, 6)
        assert len(open_images(experiment.data, "val")) == 100

    def test_another_process_reads_it_from_the_text_alone(self, folder: Path) -> None:
        text = of_parts(folder).model_dump_json()
        script = (
            "import sys; from pg_platform.config.experiment import Experiment\n"
            "from pg_platform.methods import build\n"
            "experiment = Experiment.model_validate_json(sys.argv[1])\n"
            "assert experiment.model_dump_json() == sys.argv[1]\n"
            "print(type(build(experiment)).__module__)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, text],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "parts\n", done.stderr

    def test_options_can_be_varied_and_named_in_rules(self, folder: Path) -> None:
        small = merged(SMALL, {})
        small["speaker"] = small["speaker"] | {"rank": {"kind": "custom", "target": "parts:Rank"}}
        sweep = {
            **{"name": "widths", "seeds": 1, "experiment": small},
            "parameters": {"speaker.rank.options.width": {"values": [2, 3, 5]}},
            "exclude": ["speaker.rank.options.width == 3"],
        }
        loaded = load_sweep(written(folder, yaml.safe_dump(sweep)), [])
        assert [trial.name for trial in plan(loaded, identity)] == [
            "width=2 seed=0",
            "width=5 seed=0",
        ]
        sweep["parameters"] = {"speaker.rank.options.width": {"values": [2, "x"]}}
        with pytest.raises(ConfigError) as raised:
            load_sweep(written(folder, yaml.safe_dump(sweep)), [])
        assert (
            "parameters.speaker.rank.options.width.values[1]: wants a whole number, got 'x'"
            in str(raised.value)
        )
        sweep["parameters"] = {"speaker.rank.target": {"values": ["parts:Rank", "parts:Short"]}}
        with pytest.raises(ConfigError, match=r"belongs to its class; vary speaker.rank"):
            load_sweep(written(folder, yaml.safe_dump(sweep)), [])


class TestIdentity:
    def test_an_edit_makes_another_trial(self, folder: Path) -> None:
        first = single(rank(folder, "Rank"), "r", identity)
        assert single(rank(folder, "Rank"), "r", identity).id == first.id
        (folder / "parts.py").write_text(PARTS.replace("mean(dim=1)", "amax(dim=1)"))
        edited = single(rank(folder, "Rank"), "r", identity)
        assert edited.id != first.id
        with pytest.raises(ValueError, match="has changed: its source was"):
            build(first.experiment)
        assert single(rank(folder, "Rank", width=5), "r", identity).id != edited.id

    def test_an_edit_of_what_it_imports_does_too(self, folder: Path) -> None:
        (folder / "helpers").mkdir()
        (folder / "helpers" / "scale.py").write_text("SCALE = 1\n")
        (folder / "parts.py").write_text("from helpers import scale\n" + PARTS)
        first = single(rank(folder, "Rank"), "r", identity)
        (folder / "unrelated.py").write_text("")
        assert single(rank(folder, "Rank"), "r", identity).id == first.id
        (folder / "helpers" / "scale.py").write_text("SCALE = 2\n")
        assert single(rank(folder, "Rank"), "r", identity).id != first.id

    def test_the_folder_decides_nothing(self, folder: Path) -> None:
        first = single(of_parts(folder), "r", identity)
        script = (
            "import sys; from pathlib import Path\n"
            "from pg_platform.data.identity import identity\n"
            "from pg_platform.sweep.load import load_experiment\n"
            "from pg_platform.sweep.trials import single\n"
            "print(single(load_experiment(Path(sys.argv[1]), []), 'r', identity).id)"
        )
        moved = folder / "moved"
        moved.mkdir()
        for name in ("parts.py", "f.yaml"):
            shutil.copy(folder / name, moved / name)
        done = subprocess.run(
            [sys.executable, "-c", script, str(moved / "f.yaml")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == first.id, done.stderr

    def test_without_such_a_class_nothing_changes(self) -> None:
        deciding = Experiment().deciding()
        assert "method" not in deciding
        assert single(Experiment(), "r", lambda _: "data").id == "795146cf2c33"

    def test_a_report_stands_after_an_edit_and_the_old_run_is_not_evaluated(
        self, folder: Path
    ) -> None:
        shutil.copytree(EXAMPLES / "own_speaker", folder / "speaker")
        file, home = folder / "speaker" / "sweep.yaml", folder / "home"
        result = play(file, home, *SHORT)
        before = kept(home, "own-speaker (epochs=1)")["tables/comparison.csv"]
        edges = folder / "speaker" / "edges.py"
        edges.write_text(edges.read_text() + "\n# edited\n")
        report(home, "own-speaker (epochs=1)")
        assert kept(home, "own-speaker (epochs=1)")["tables/comparison.csv"] == before
        with pytest.raises(ValueError, match="has changed: its source was"):
            load_trained(trial_folder(home, result.trials[-1]), torch.device("cpu"))
        with pytest.raises(ValueError, match=r"speaker.rank.source is"):
            play(file, home, *SHORT)
        edges.unlink()
        forget()
        with pytest.raises(CheckpointError, match=r"speaker.rank.custom.target: .* no edges.py in"):
            load_trained(trial_folder(home, result.trials[-1]), torch.device("cpu"))


class TestErrors:
    @pytest.mark.parametrize(
        ("section", "told"),
        [
            ("{kind: custom}", "1:17: speaker.rank.target: is missing"),
            (
                "{kind: custom, target: Rank}",
                "1:40: speaker.rank.target: wants package.module:Class, got 'Rank'",
            ),
            (
                "{kind: custom, target: part:Rank}",
                "1:40: speaker.rank.target: no part.py in HERE or CWD, and no installed package "
                "has part, got 'part:Rank'",
            ),
            (
                "{kind: custom, target: parts:Rnk}",
                "1:40: speaker.rank.target: no class Rnk in HERE/parts.py (did you mean 'Rank'?), "
                "got 'parts:Rnk'",
            ),
            (
                "{kind: custom, target: parts:NotAModule}",
                "1:40: speaker.rank.target: NotAModule wants to be a torch.nn.Module, "
                "got 'parts:NotAModule'",
            ),
            (
                "{kind: custom, target: parts:NoForward}",
                "1:40: speaker.rank.target: NoForward lacks forward(images) -> scores "
                "(batch, patches), got 'parts:NoForward'",
            ),
            (
                "{kind: custom, target: parts:Alone}",
                "1:40: speaker.rank.target: Alone wants to be built with (experiment, options), "
                "got 'parts:Alone'",
            ),
            (
                "{kind: custom, target: parts:Untyped}",
                "1:40: speaker.rank.target: Untyped.Options wants to be a class on "
                "pg_platform.config.section.Section, got 'parts:Untyped'",
            ),
            (
                "{kind: custom, target: parts:Rank, options: {widht: 3}}",
                "1:62: speaker.rank.options.widht: unknown key; did you mean 'width'?",
            ),
            (
                "{kind: custom, target: parts:Rank, options: {width: wide}}",
                "1:69: speaker.rank.options.width: wants a whole number, got 'wide'",
            ),
            (
                "{kind: custom, target: parts:Rank, options: 3}",
                "1:61: speaker.rank.options: wants keys (width, file), got 3",
            ),
            (
                "{kind: custom, target: parts:Rank, width: 3}",
                "1:52: speaker.rank.width: unknown key; did you mean 'options.width'?",
            ),
        ],
    )
    def test_a_bad_section_is_told_of_with_its_place(
        self, folder: Path, section: str, told: str
    ) -> None:
        found = problems(folder, f"speaker: {{rank: {section}}}\n")
        assert found == [f"HERE/f.yaml:{told}".replace("CWD", str(Path.cwd()))]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere' (broken.py:1)"),
            ("x = 1\nx.y\n", "AttributeError: 'int' object has no attribute 'y' (broken.py:2)"),
            ("def f(:\n", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ],
    )
    def test_a_module_that_breaks_is_told_of_with_its_line(
        self, folder: Path, text: str, told: str
    ) -> None:
        (folder / "broken.py").write_text(text)
        (found,) = problems(folder, "data: {kind: custom, target: broken:X}\n")
        assert found == (
            f"HERE/f.yaml:1:30: data.target: cannot be imported: {told}, got 'broken:X'"
        )

    def test_a_name_that_is_taken(self, folder: Path) -> None:
        (folder / "shutil.py").write_text(PARTS)
        (found,) = problems(folder, "data: {kind: custom, target: shutil:Data}\n")
        assert "HERE/shutil.py is called as" in found
        assert "rename it" in found

    def test_what_gives_another_shape_is_refused_before_anything_starts(self, folder: Path) -> None:
        with pytest.raises(
            ValueError,
            match=r"^speaker.rank: parts:Short: what it gives wants to be \(2, 4\), it is",
        ):
            check_custom([rank(folder, "Short")])
        with pytest.raises(
            ValueError,
            match=r"^speaker.rank: parts:Breaks: AttributeError: .*nothing.*\(parts.py:\d",
        ):
            check_custom([rank(folder, "Breaks")])

    def test_the_command_ends_with_one_line(self, folder: Path) -> None:
        file = written(
            folder, "name: bad\nexperiment: {speaker: {rank: {kind: custom, target: x:Y}}}\n"
        )
        done = command(folder / "home", "pg-sweep", str(file), "--dry-run")
        assert done.exit_code == 2
        assert "f.yaml:2:53: experiment.speaker.rank.target: no x.py in" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        ("name", "text", "told"),
        [
            ("knn.py", "", "knn is an evaluation already; rename the file"),
            ("mine.py", "x = 1\n", "wants `Options` and `evaluate(trained, options)`"),
            (
                "mine.py",
                "1 / 0\n",
                "cannot be imported: ZeroDivisionError: division by zero (mine.py:1)",
            ),
            ("other.py", None, "no file"),
        ],
    )
    def test_a_file_that_is_no_evaluation(
        self, folder: Path, name: str, text: str | None, told: str
    ) -> None:
        if text is not None:
            (folder / name).write_text(text)
        done = command(folder / "home", "pg-eval", str(folder / name), "run")
        assert done.exit_code == 2
        assert told in done.stderr
