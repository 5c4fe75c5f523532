"""Training: it continues bit for bit, and any number of workers gives the same run."""

from __future__ import annotations

import fcntl
import gc
import math
import os
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from pg_platform.config.experiment import Experiment
from pg_platform.config.metrics import metric_names, reported
from pg_platform.config.paths import recipe_names
from pg_platform.data.images import open_images
from pg_platform.methods import build
from pg_platform.training import checkpoint
from pg_platform.training.checkpoint import Progress
from pg_platform.training.cuda_graph import StepGraph
from pg_platform.training.history import Journal, Outcome, Row
from pg_platform.training.learner import Learner
from pg_platform.training.loop import STOP_POLL_STEPS, train
from pg_platform.training.worker import Worker, local_worker
from tests.small import SMALL, environment, merged, small_recipe, write_experiment

PLACE_ONLY = ("perf/images_per_s", "perf/data_wait_share", "perf/peak_memory_gib")


def play(
    experiment: Experiment, folder: Path, *, stop: Callable[[], bool] = lambda: False
) -> tuple[Outcome, list[Row]]:
    """Train here; the outcome and all rows reported in this call."""
    reported: list[Row] = []
    place = local_worker(experiment.resources)
    outcome = train(experiment, folder, place=place, report=reported.extend, should_stop=stop)
    return outcome, reported


def weights(folder: Path) -> dict[str, torch.Tensor]:
    path = checkpoint.latest(folder)
    assert path is not None
    return checkpoint.load_weights(path)


def results(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Metrics without those that depend on the machine's speed."""
    return [{k: v for k, v in row.metrics.items() if k not in PLACE_ONLY} for row in rows]


def assert_equal_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == []


@pytest.fixture(scope="module", params=recipe_names())
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """Every recipe, made small."""
    return small_recipe(request.param)


@pytest.fixture(scope="module")
def undisturbed(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert play(experiment, folder)[0] is Outcome.COMPLETED
    return folder


def test_a_run_waits_while_another_process_trains_in_its_folder(tmp_path: Path) -> None:
    experiment, folder = small_recipe("default"), tmp_path / "run"
    folder.mkdir()
    said: list[int] = []
    with (folder / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # what takes the folder alone waits for this too

        def report(rows: Sequence[Row]) -> None:
            said.append(len(rows))
            if said == [0, 0]:
                assert not list(folder.glob("step-*"))
                fcntl.flock(other, fcntl.LOCK_UN)

        place = local_worker(experiment.resources)
        ended = train(experiment, folder, place=place, report=report, should_stop=lambda: False)
        assert ended is Outcome.COMPLETED
        assert said == [0, 0, 1, 1]


def test_a_run_that_waits_for_its_folder_can_be_stopped(tmp_path: Path) -> None:
    experiment, folder = small_recipe("default"), tmp_path / "run"
    folder.mkdir()
    with (folder / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # what takes the folder alone waits for this too
        outcome, rows = play(experiment, folder, stop=lambda: True)
    assert (outcome, rows) == (Outcome.INTERRUPTED, [])
    assert not list(folder.glob("step-*"))


@pytest.mark.parametrize("after", [1, 2, 4, 5, 8])
def test_a_run_stopped_anywhere_ends_as_if_it_was_not(
    experiment: Experiment, undisturbed: Path, tmp_path: Path, after: int
) -> None:
    steps = iter(range(1, 100))
    outcome, _ = play(experiment, tmp_path, stop=lambda: next(steps) == after)
    assert outcome is Outcome.INTERRUPTED
    outcome, rows = play(experiment, tmp_path)
    assert outcome is Outcome.COMPLETED
    assert_equal_weights(tmp_path, undisturbed)
    assert results(rows) == results(Journal(undisturbed / "metrics.jsonl").rows())


def test_a_finished_run_reports_its_rows_again_and_trains_no_more(
    experiment: Experiment, undisturbed: Path
) -> None:
    before = weights(undisturbed)
    outcome, rows = play(experiment, undisturbed)
    assert outcome is Outcome.COMPLETED
    assert [row.epoch for row in rows] == [1, 2]
    after = weights(undisturbed)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_killed_with_signal_9_ends_as_if_it_was_not(
    experiment: Experiment, undisturbed: Path, tmp_path: Path
) -> None:
    """The process dies in the middle of an epoch, just after a checkpoint of it."""
    program = (
        "import os, signal, sys, pathlib\n"
        "from pg_platform.config.experiment import Experiment\n"
        "from pg_platform.training.loop import train\n"
        "from pg_platform.training.worker import local_worker\n"
        "experiment = Experiment.model_validate_json(sys.argv[1])\n"
        "folder = pathlib.Path(sys.argv[2])\n"
        "def die():\n"
        "    if (folder / 'step-000000006').is_dir():\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return False\n"
        "train(experiment, folder, place=local_worker(experiment.resources),\n"
        "      report=lambda rows: None, should_stop=die)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, experiment.model_dump_json(), str(tmp_path)],
        check=False,
        timeout=120,
        env=environment(tmp_path),
    )
    assert killed.returncode == -signal.SIGKILL
    assert play(experiment, tmp_path)[0] is Outcome.COMPLETED
    assert_equal_weights(tmp_path, undisturbed)


def test_a_half_written_checkpoint_is_no_checkpoint(
    experiment: Experiment, undisturbed: Path, tmp_path: Path
) -> None:
    steps = iter(range(1, 100))
    play(experiment, tmp_path, stop=lambda: next(steps) == 3)
    torn = tmp_path / ".partial-000000099"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"torn")
    assert play(experiment, tmp_path)[0] is Outcome.COMPLETED
    assert_equal_weights(tmp_path, undisturbed)


def test_the_seed_decides_the_run(
    experiment: Experiment, undisturbed: Path, tmp_path: Path
) -> None:
    other = experiment.model_copy(update={"seed": 1})
    play(other, tmp_path)
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path, undisturbed)


def test_a_checkpoint_carries_its_experiment(experiment: Experiment, undisturbed: Path) -> None:
    path = checkpoint.latest(undisturbed)
    assert path is not None
    assert checkpoint.load_experiment(path) == experiment


@pytest.mark.parametrize("optimizer", [{"kind": "sgd", "lr": 1e30}, {"kind": "adamw", "lr": 1e30}])
def test_a_loss_that_is_not_finite_stops_the_run_before_anything_is_learned_from_it(
    tmp_path: Path, optimizer: dict[str, Any]
) -> None:
    wild = {"optimizer": optimizer, "checkpoints": {"every_steps": 1}, "seed": 3}
    experiment = Experiment.model_validate(merged(SMALL, wild))
    with pytest.raises(FloatingPointError) as stopped:
        play(experiment, tmp_path)
    told = str(stopped.value)
    (step,) = re.findall(r"at step (\d+) \(epoch 1\)", told)
    (module,) = re.findall(r"first in (\S+);", told)
    assert build(experiment).get_submodule(module) is not None
    ids = set(open_images(experiment.data, "train").ids)
    (named,) = re.findall(r"images of this worker: (.*) and \d+ more;", told)
    assert len(set(named.split(", ")) & ids) == 10
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert newest.name == f"step-{int(step) - 1:09d}"
    assert all(bool(t.isfinite().all()) for t in checkpoint.load_weights(newest).values())
    assert Journal(tmp_path / "metrics.jsonl").rows() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # what torch says of itself while it compiles
def test_compiled_networks_learn_the_same_and_keep_their_names(tmp_path: Path) -> None:
    losses, names = [], []
    for compiled in (False, True):
        experiment = Experiment.model_validate(merged(SMALL, {"compile": compiled, "epochs": 1}))
        _, rows = play(experiment, tmp_path / str(compiled))
        losses.append(rows[0].metrics["train/loss"])
        names.append(weights(tmp_path / str(compiled)).keys())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert names[0] == names[1]


def test_every_metric_that_a_run_writes_is_known(undisturbed: Path) -> None:
    """By the table that says which end of each is good; whatever recipe, whatever epoch."""
    rows = Journal(undisturbed / "metrics.jsonl").rows()
    written = {name for row in rows for name in row.metrics}
    assert written
    assert {name for name in written if reported(name) is None} == set()
    shares = {name for name in written if (known := reported(name)) is not None and known.share}
    assert all(0 <= row.metrics[name] <= 1 for row in rows for name in shares & row.metrics.keys())
    assert rows[-1].metrics["data/val_images"] % SMALL["validation"]["pool_size"] == 0
    assert rows[-1].metrics["data/train_images"] == rows[0].images


def test_training_in_fp16_scales_its_loss_and_continues_bit_for_bit(tmp_path: Path) -> None:
    half = {"precision": "fp16", "epochs": 1, "checkpoints": {"every_steps": 2}}
    experiment = Experiment.model_validate(merged(SMALL, half))
    _, rows = play(experiment, tmp_path / "whole")
    assert math.isfinite(rows[-1].metrics["train/loss"])
    assert rows[-1].metrics.keys() == set(metric_names(experiment))
    steps = iter(range(1, 100))
    play(experiment, tmp_path / "cut", stop=lambda: next(steps) == 3)
    play(experiment, tmp_path / "cut")
    assert_equal_weights(tmp_path / "cut", tmp_path / "whole")
    path = checkpoint.latest(tmp_path / "cut")
    assert path is not None
    assert torch.load(path / "optimizer.pt", weights_only=True)["scaler"]["scale"] > 1


def test_wide_layers_rest_in_the_epochs_that_are_asked_for(tmp_path: Path) -> None:
    head = {"wide": 64, "wide_frozen_epochs": 1}
    changes = {"listener": {"head": head}, "optimizer": {"weight_decay": 0.5}}
    experiment = Experiment.model_validate(merged(SMALL, changes))
    start = build(experiment).state_dict()
    for epochs, moved in ((1, False), (2, True)):
        play(experiment.model_copy(update={"epochs": epochs}), tmp_path / str(epochs))
        now = weights(tmp_path / str(epochs))
        for name in ("listener.wide.text.weight_v", "listener.wide.image.weight_v"):
            assert torch.equal(now[name], start[name]) is not moved


def test_a_pool_larger_than_the_split_is_refused_before_the_first_step(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(merged(SMALL, {"validation": {"pool_size": 4000}}))
    with pytest.raises(ValueError, match=r"validation\.pool_size is 4000 and .* has \d+ images"):
        play(experiment, tmp_path)


def test_a_learner_that_nobody_holds_is_gone_at_once(experiment: Experiment) -> None:
    """No circle keeps its networks, nor the step that a GPU has recorded, until a collection."""
    gc.disable()
    try:
        learner = Learner(experiment, Worker(torch.device("cpu")))
        learner.gradients.graph = StepGraph(learner.method)
        progress = Progress()
        learner.step(next(learner.batches(progress)), progress)
        watched = [weakref.ref(each) for each in (learner.method, learner.gradients)]
        del learner
        assert [each() for each in watched] == [None, None]
    finally:
        gc.enable()


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    experiment = Experiment.model_validate(merged(SMALL, {"resources": {"gpus_per_worker": 1}}))
    with pytest.raises(ValueError, match="no GPU"):
        local_worker(experiment.resources)


def test_an_apple_gpu_that_is_not_there_is_refused() -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has an Apple GPU")
    experiment = Experiment.model_validate(merged(SMALL, {"resources": {"device": "mps"}}))
    with pytest.raises(ValueError, match=r"--set resources\.device=cpu"):
        local_worker(experiment.resources)


@pytest.mark.parametrize("changes", [{"compile": True}, {"precision": "fp16"}])
def test_what_mps_cannot_do_is_refused_where_auto_found_it(changes: dict[str, Any]) -> None:
    experiment = Experiment.model_validate(merged(SMALL, changes))
    with pytest.raises(ValueError, match="not supported on Apple's MPS"):
        Learner(experiment, Worker(torch.device("mps")))


def test_two_workers_give_the_loss_curve_of_one(tmp_path: Path) -> None:
    one = Experiment.model_validate(SMALL)
    two = Experiment.model_validate(merged(SMALL, {"resources": {"workers": 2}}))
    _, alone = play(one, tmp_path / "one")
    spawn(_worker, (two.model_dump_json(), str(tmp_path)), nprocs=2)
    together = Journal(tmp_path / "two" / "metrics.jsonl").rows()
    assert len(together) == len(alone) == one.epochs
    for ours, theirs in zip(results(together), results(alone), strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=2e-3)
        assert ours["train/message_length"] == pytest.approx(
            theirs["train/message_length"], rel=2e-2
        )


def _worker(rank: int, experiment: str, root: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{root}/rendezvous", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    train(
        Experiment.model_validate_json(experiment),
        Path(root) / "two",
        place=Worker(torch.device("cpu"), rank, 2),
        report=lambda _: None,
        should_stop=lambda: False,
    )
    dist.destroy_process_group()


def run_command(arguments: Sequence[str], home: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]]
    return subprocess.run(
        command, env=environment(home), capture_output=True, text=True, check=False, timeout=240
    )


def test_pg_train_local_killed_and_started_again(tmp_path: Path) -> None:
    """The command itself: cut off after its first row, continued, then not run a third time."""
    home = tmp_path / "home"
    file = write_experiment(tmp_path, {"epochs": 3})
    command = [str(Path(sys.executable).parent / "pg-train"), str(file), "--local"]
    process = subprocess.Popen(command, env=environment(home))
    while not list(home.glob("trials/*/step-*")) and process.poll() is None:
        os.sched_yield()
    process.kill()
    process.wait()
    second = run_command(["pg-train", str(file), "--local"], home)
    assert second.returncode == 0, second.stderr
    third = run_command(["pg-train", str(file), "--local"], home)
    assert "finished before" in third.stdout
    (folder,) = (home / "trials").iterdir()
    assert [row.epoch for row in Journal(folder / "metrics.jsonl").rows()] == [1, 2, 3]


def test_a_step_that_overflows_in_fp16_is_left_out_and_counted() -> None:
    experiment = Experiment.model_validate(merged(SMALL, {"precision": "fp16"}))
    learner, progress = Learner(experiment, local_worker(experiment.resources)), Progress()
    batches = learner.batches(progress)
    scaler = learner.gradients.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**120})
    before = [parameter.detach().clone() for parameter in learner.method.parameters()]
    learner.step(next(batches), progress)
    assert all(map(torch.equal, before, learner.method.parameters()))
    assert learner.sums["skipped_steps"] == 1
    scaler.load_state_dict({**scaler.state_dict(), "scale": 1.0})
    learner.step(next(batches), progress)
    assert not all(map(torch.equal, before, learner.method.parameters()))
    assert learner.sums["skipped_steps"] == 1
    assert learner.sums["grad_norm"].isfinite()


def test_a_run_that_pauses_at_an_epoch_ends_as_one_that_does_not(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(merged(SMALL, {"epochs": 3}))
    place = local_worker(experiment.resources)
    whole, rows = play(experiment, tmp_path / "whole")
    told: list[Row] = []
    outcomes = [
        train(
            experiment,
            tmp_path / "parts",
            place=place,
            report=told.extend,
            should_stop=lambda: False,
            until=until,
        )
        for until in (1, 2, 7)
    ]
    assert outcomes == [Outcome.PAUSED, Outcome.PAUSED, Outcome.COMPLETED]
    assert whole is Outcome.COMPLETED
    assert [row.epoch for row in told] == [1, 1, 2, 1, 2, 3]
    assert_equal_weights(tmp_path / "parts", tmp_path / "whole")
    assert results(told[-3:]) == results(rows)


def _stopped(rank: int, folder: str) -> None:
    """A worker of two, of which only rank 0 is ever asked to stop."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    changes = {"epochs": 40, "resources": {"workers": 2}}
    experiment = Experiment.model_validate(merged(SMALL, changes))
    outcome = train(
        experiment,
        Path(folder) / "run",
        place=Worker(torch.device("cpu"), rank, 2),
        report=lambda _: None,
        should_stop=lambda: rank == 0,
    )
    Path(folder, f"{rank}.txt").write_text(outcome.value)
    dist.destroy_process_group()


def test_several_workers_stop_together_soon_after_the_first_was_asked(tmp_path: Path) -> None:
    spawn(_stopped, args=(str(tmp_path),), nprocs=2)
    said = {(tmp_path / f"{rank}.txt").read_text() for rank in range(2)}
    assert said == {Outcome.INTERRUPTED.value}
    path = checkpoint.latest(tmp_path / "run")
    assert path is not None
    assert 0 < checkpoint.load_progress(path).step <= 3 * STOP_POLL_STEPS
