"""Damaged checkpoints: the one before is taken, and said so; a run ends as if nothing had been."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn

from pg_platform.cli.evaluate import evaluate
from pg_platform.config.experiment import Experiment
from pg_platform.evaluation.trained import load_trained
from pg_platform.store.store import Store
from pg_platform.training import checkpoint
from pg_platform.training.checkpoint import CheckpointError
from pg_platform.training.history import Journal, Outcome
from pg_platform.training.loop import train
from pg_platform.training.newest import RESUMED, newest_whole
from pg_platform.training.worker import Worker, local_worker
from tests.commands import run, start
from tests.small import SMALL, merged, write_experiment
from tests.small_sweeps import runs, sweep, vocabularies, wait_until
from tests.spoilt import Scene, step_of, two_runs, unsealed

PLACE_ONLY = ("perf/images_per_s", "perf/data_wait_share", "perf/peak_memory_gib")
EXPERIMENT = Experiment.model_validate(merged(SMALL, {"epochs": 3}))
FILES = ("experiment.json", "model.safetensors", "optimizer.pt", "progress.json", "manifest.json")


def play(
    folder: Path, *, steps: int = 10**6, until: int | None = None
) -> tuple[Outcome, list[str]]:
    """Train for so many steps at most; the outcome, and what was warned of."""
    told: list[str] = []
    taken = iter(range(1, steps + 1))
    outcome = train(
        EXPERIMENT,
        folder,
        until=until,
        place=local_worker(EXPERIMENT.resources),
        report=lambda _: None,
        should_stop=lambda: next(taken, steps) == steps,
        warn=told.append,
    )
    return outcome, told


def rows(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Epochs and metrics in the journal, without those that depend on the machine's speed."""
    return [
        (row.epoch, {k: v for k, v in row.metrics.items() if k not in PLACE_ONLY})
        for row in Journal(folder / "metrics.jsonl").rows()
    ]


def newest(folder: Path) -> Path:
    path = checkpoint.latest(folder)
    assert path is not None
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(newest(folder))


def assert_equal(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert rows(one) == rows(other)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert play(folder) == (Outcome.COMPLETED, [])
    return folder


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its third epoch, with the checkpoint of the second before it."""
    folder = tmp_path_factory.mktemp("interrupted")
    assert play(folder, until=2) == (Outcome.PAUSED, [])
    assert play(folder, steps=2) == (Outcome.INTERRUPTED, [])
    assert len(checkpoint.steps(folder)) == 2
    return folder


@pytest.fixture
def cut(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoilt."""
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """One bit in the middle, in the same size and time."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def empty(file: Path) -> None:
    file.write_bytes(b"")


SPOILS: Mapping[str, Callable[[Path], object]] = {
    "cut short": halve,
    "a bit flipped": flip,
    "gone": Path.unlink,
    "empty": empty,
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
@pytest.mark.parametrize("name", FILES)
def test_no_damage_of_the_newest_is_overlooked(
    cut: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    older, damaged = checkpoint.steps(cut)
    spoil(damaged / name)
    choice = newest_whole(cut, RESUMED, "")
    assert choice.path == older
    assert choice.told is not None
    for part in (older.name, damaged.name, name, str(cut)):
        assert part in choice.told


@pytest.mark.parametrize(("name", "spoil"), zip(FILES, [*SPOILS, "gone"], strict=True))
def test_a_run_goes_on_from_the_checkpoint_before(
    undisturbed: Path, cut: Path, name: str, spoil: str
) -> None:
    SPOILS[spoil](newest(cut) / name)
    outcome, (told,) = play(cut)
    assert outcome is Outcome.COMPLETED
    assert "the newest checkpoint is damaged, and an older one is taken" in told
    assert_equal(cut, undisturbed)
    assert {path.name for path in cut.glob("*step-*")} == {
        path.name for path in undisturbed.glob("*step-*")
    }


def test_what_was_damaged_lies_beside_the_run_until_that_is_as_far_again(cut: Path) -> None:
    older, damaged = checkpoint.steps(cut)
    flip(damaged / "model.safetensors")
    between = checkpoint.step_of(damaged) - checkpoint.step_of(older) - 1
    assert between > 0
    play(cut, steps=between)
    assert [path.name for path in sorted(cut.glob("*step-*"))] == [
        f"damaged-{damaged.name}",
        older.name,
        checkpoint.path_of(cut, checkpoint.step_of(damaged) - 1).name,
    ]
    assert play(cut)[1] == []


def test_with_both_damaged_it_says_how_to_begin_anew_and_changes_nothing(
    cut: Path, undisturbed: Path
) -> None:
    older, damaged = checkpoint.steps(cut)
    halve(older / "progress.json")
    flip(damaged / "optimizer.pt")
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError) as refused:
        play(cut)
    told = str(refused.value)
    assert told.startswith(f"{cut}: no checkpoint here is whole: ")
    for part in (f"{older.name}/progress.json", f"{damaged.name}/optimizer.pt"):
        assert part in told
    assert "move that folder away, and the same command trains from the beginning" in told
    assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == before
    cut.rename(cut.with_name("away"))
    assert play(cut) == (Outcome.COMPLETED, [])
    assert_equal(cut, undisturbed)


def test_a_checkpoint_of_a_version_without_hashes_is_gone_on_from(
    undisturbed: Path, cut: Path
) -> None:
    for path in checkpoint.steps(cut):
        unsealed(path)
    assert play(cut) == (Outcome.COMPLETED, [])
    assert_equal(cut, undisturbed)


@pytest.mark.parametrize("name", FILES[:4])
def test_one_without_hashes_that_cannot_be_read_is_left_out_too(cut: Path, name: str) -> None:
    older, damaged = map(unsealed, checkpoint.steps(cut))
    halve(damaged / name)
    choice = newest_whole(cut, RESUMED, "")
    assert choice.path == older
    assert f"instead of {damaged.name}: {name}: " in (choice.told or "")


def test_what_only_looks_like_a_checkpoint_is_none(undisturbed: Path, cut: Path) -> None:
    shutil.copytree(checkpoint.steps(cut)[0], cut / "step-zzz")
    shutil.copytree(checkpoint.steps(cut)[0], cut / f"{newest(cut).name}.bak")
    (cut / "step-999999999").write_text("a file")
    assert play(cut) == (Outcome.COMPLETED, [])
    ours, theirs = checkpoint.steps(cut)[-1], checkpoint.steps(undisturbed)[-1]
    assert ours.name == theirs.name
    assert_equal(cut, undisturbed)


class Harm:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_a_checkpoint_from_elsewhere_runs_nothing(cut: Path, tmp_path: Path, form: str) -> None:
    harm = {"optimizer": Harm(tmp_path / "harmed"), "scaler": {}}
    for path in checkpoint.steps(cut):
        unsealed(path)
    if form == "zip":
        torch.save(harm, newest(cut) / "optimizer.pt")
    else:
        (newest(cut) / "optimizer.pt").write_bytes(pickle.dumps(harm, protocol=2))
    assert "optimizer.pt" in play(cut)[1][0]
    assert not (tmp_path / "harmed").exists()


@given(data=st.data(), name=st.sampled_from(FILES[:4]))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_damage_is_a_traceback(interrupted: Path, data: st.DataObject, name: str) -> None:
    """Bytes of a checkpoint without hashes: read as something, or the one before is taken."""
    folder = interrupted.parent / "drawn"
    shutil.copytree(interrupted, folder, dirs_exist_ok=True)
    for path in checkpoint.steps(folder):
        unsealed(path)
    file = newest(folder) / name
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, min(len(content) - 1, 4000)), "place")
    if data.draw(st.booleans(), "cut"):
        del content[place:]
    else:
        content[place] = data.draw(st.integers(0, 255), "byte")
    file.write_bytes(content)
    assert newest_whole(folder, RESUMED, "").path in checkpoint.steps(folder)


def _worker(rank: int, root: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{root}/rendezvous", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    told: list[str] = []
    two = Experiment.model_validate(merged(SMALL, {"epochs": 3, "resources": {"workers": 2}}))
    for until in (2, 3):
        train(
            two,
            Path(root) / "run",
            place=Worker(torch.device("cpu"), rank, 2),
            report=lambda _: None,
            should_stop=lambda: False,
            until=until,
            warn=told.append,
        )
        if until == 2 and rank == 0:
            flip(newest(Path(root) / "run") / "optimizer.pt")
        dist.barrier()
    (Path(root) / f"{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


def test_several_workers_go_on_from_the_same_one(tmp_path: Path) -> None:
    spawn(_worker, (str(tmp_path),), nprocs=2)
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [len(each) for each in told] == [1, 1]
    assert "optimizer.pt: damaged" in told[0][0]
    assert [epoch for epoch, _ in rows(tmp_path / "run")] == [1, 2, 3]


def interrupt_after_epochs(process: Any, home: Path, epochs: int) -> Path:
    """Ctrl-C once so many epochs are through; the trial's folder."""

    def there() -> bool:
        found = list(home.glob("trials/*/metrics.jsonl"))
        return bool(found) and len(Journal(found[0]).rows()) >= epochs

    wait_until(there, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    (folder,) = (home / "trials").iterdir()
    return folder


def test_pg_train_says_it_and_keeps_it_with_the_run(tmp_path: Path) -> None:
    home, epochs = tmp_path / "home", 40
    file = write_experiment(tmp_path, {"epochs": epochs})
    command = ["pg-train", str(file), "--local"]
    folder = interrupt_after_epochs(start(command, home), home, 3)
    damaged = newest(folder)
    flip(damaged / "model.safetensors")
    done = run(command, home)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert damaged.name in line
    with Store.open(home) as store:
        (stored,) = store.runs(store.find_experiment("patchgame/train") or "")
        assert stored.tags["pg.resumed_older"] in line
        steps = [step for step, _ in store.history(stored.run_id, "train/loss")]
    assert steps == [epoch for epoch, _ in rows(folder)] == list(range(1, epochs + 1))


def test_pg_train_names_the_folder_and_the_remedy_where_none_is_whole(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = ["pg-train", str(write_experiment(tmp_path, {"epochs": 40})), "--local"]
    folder = interrupt_after_epochs(start(command, home), home, 2)
    for path in checkpoint.steps(folder):
        halve(path / "progress.json")
    done = run(command, home)
    assert done.returncode == 1, done.stdout
    assert f"{folder}: no checkpoint here is whole" in done.stderr
    assert "move that folder away" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_pg_sweep_says_it_and_keeps_it_with_the_run(tmp_path: Path, workers: int) -> None:
    changes = {"seeds": 1, "experiment": {"epochs": 60, "resources": {"workers": workers}}}
    file, home = sweep(tmp_path, changes | {"parameters": vocabularies(8)})
    folder = interrupt_after_epochs(start(["pg-sweep", str(file)], home), home, 3)
    damaged = newest(folder)
    flip(damaged / "optimizer.pt")
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert damaged.name in line
    (stored,) = runs(home).values()
    assert stored.tags["pg.resumed_older"] in line
    with Store.open(home) as store:
        steps = [step for step, _ in store.history(stored.run_id, "train/loss")]
    assert steps == [epoch for epoch, _ in rows(folder)] == list(range(1, 61))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield two_runs(tmp_path_factory.mktemp("pair"), epochs=2)


@pytest.fixture
def scene(shared: Scene) -> Scene:
    shared.mend()
    return shared


class TestEvaluations:
    FORM = ("form", "{id}")

    def test_the_checkpoint_before_is_evaluated_and_said_so(self, scene: Scene) -> None:
        older, damaged = checkpoint.steps(scene.runs[0])
        flip(damaged / "model.safetensors")
        done = scene.evaluate(*self.FORM)
        assert done.exit_code == 0, done.stderr
        first, *others = done.stdout.splitlines()
        assert first.startswith("warning: seed=0: the newest checkpoint is damaged")
        assert older.name in first
        assert damaged.name in first
        told = first.removeprefix("warning: seed=0: ")
        assert told in "".join(others), "it stands in the words of the result"
        with Store.open(scene.home) as store:
            assert store.look(scene.ids[0]).tags["pg.evaluated_older"] == told
        assert told in scene.evaluate(*self.FORM).stdout, "and in what was computed before"

    def test_it_is_of_the_weights_of_that_one(self, scene: Scene) -> None:
        older, damaged = checkpoint.steps(scene.runs[0])
        wanted = load_trained(older, torch.device("cpu")).game.state_dict()
        halve(damaged / "model.safetensors")
        found = load_trained(scene.runs[0], torch.device("cpu"))
        assert found.path == older
        assert all(torch.equal(v, wanted[k]) for k, v in found.game.state_dict().items())

    @pytest.mark.parametrize("name", ["optimizer.pt", "progress.json"])
    def test_what_it_does_not_read_may_be_damaged(self, scene: Scene, name: str) -> None:
        flip(newest(scene.runs[0]) / name)
        done = scene.evaluate(*self.FORM, "--fresh")
        assert done.exit_code == 0, done.stderr
        assert "warning" not in done.stdout

    def test_one_that_is_named_is_evaluated_or_refused(self, scene: Scene) -> None:
        damaged = newest(scene.runs[0])
        flip(damaged / "model.safetensors")
        before = scene.held()
        done = CliRunner().invoke(
            evaluate, ["form", str(damaged)], env={"PG_HOME": str(scene.home)}
        )
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert f"{damaged}/model.safetensors: damaged" in line
        assert "take another checkpoint of this run" in line
        assert scene.held() == before

    def test_one_without_hashes_is_evaluated(self, scene: Scene) -> None:
        for folder in scene.runs:
            unsealed(step_of(folder))
            unsealed(newest(folder))
        done = scene.evaluate(*self.FORM, "--fresh")
        assert done.exit_code == 0, done.stderr
        assert "warning" not in done.stdout
