"""The contract of every file in evals/, and k-NN against a loop."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.cluster_utils import Cluster

from evals.knn import Options, knn_votes
from pg_platform.config.paths import evaluation_names
from pg_platform.config.section import Section
from pg_platform.evaluate import (
    Evaluation,
    JointEvaluation,
    find_evaluation,
    load_evaluation,
    measure,
    read_evaluation,
)
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained, load_trained
from pg_platform.store.store import Store
from pg_platform.training.checkpoint import CheckpointError
from tests.agents import agents
from tests.commands import run, run_in_terminal
from tests.small import write_experiment, write_sweep

CPU = torch.device("cpu")
TWICE = ["V=2 seed=0", "V=8 seed=0"] * 2


@pytest.mark.parametrize("name", evaluation_names())
def test_an_evaluation_keeps_the_contract(name: str, trained: Trained) -> None:
    """Strict options, a source, finite metrics, the same at every call.

    Only what must come from the user has no default.
    """
    evaluation = find_evaluation(name)
    assert issubclass(evaluation.Options, Section)
    wanted = [
        name for name, field in evaluation.Options.model_fields.items() if field.is_required()
    ]
    if wanted:
        pytest.skip(f"{name} wants {', '.join(wanted)} from the user; it has tests of its own")
    first_line = (evaluation.__doc__ or "").splitlines()[0]
    assert any(part in first_line for part in ("Table", "Fig", "Sec."))
    metrics = measured(evaluation, trained).metrics
    assert metrics
    assert all(key.startswith(f"{name}/") and math.isfinite(v) for key, v in metrics.items())
    assert measured(evaluation, trained).metrics == metrics


def measured(evaluation: Evaluation | JointEvaluation, trained: Trained) -> EvaluationResult:
    """What an evaluation finds with its defaults: on one run, or on it and one untrained."""
    if isinstance(evaluation, JointEvaluation):
        several = [("trained", trained), ("untrained", agents({}))]
        return evaluation.evaluate_together(several, evaluation.Options())
    return evaluation.evaluate(trained, evaluation.Options())


def test_knn_finds_classes_that_pixels_tell_apart(trained: Trained) -> None:
    """Ten digits: far above the 0.1 and 0.5 of guessing."""
    metrics = load_evaluation("knn").evaluate(trained, Options()).metrics
    assert metrics["knn/top1_k20_T0.07"] > 0.3
    assert metrics["knn/top5_k20_T0.07"] > 0.75


@given(st.integers(0, 2**31), st.integers(1, 9))
def test_votes_equal_those_of_a_loop(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bank = torch.nn.functional.normalize(torch.randn(9, 4, generator=generator), dim=1)
    queries = torch.nn.functional.normalize(torch.randn(3, 4, generator=generator), dim=1)
    labels = torch.randint(0, 3, (9,), generator=generator)
    votes = knn_votes(queries, bank, labels, classes=3, options=Options(k=k, temperature=0.5))
    for row, query in enumerate(queries):
        nearest = sorted(range(9), key=lambda i: -float(query @ bank[i]))[:k]
        wanted: dict[int, float] = defaultdict(float)
        for i in nearest:
            wanted[int(labels[i])] += math.exp(float(query @ bank[i]) / 0.5)
        assert votes[row].tolist() == pytest.approx([wanted[c] for c in range(3)], rel=1e-4)


def test_a_bank_smaller_than_k_is_refused(trained: Trained) -> None:
    with pytest.raises(ValueError, match="the bank has"):
        load_evaluation("knn").evaluate(trained, Options(k=100_000))


def test_an_evaluation_is_read_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def evaluate(trained, options): ...")
    with pytest.raises(ValueError, match=r"mine\.py: wants `Options` and"):
        read_evaluation(file)
    other = tmp_path / "other.py"
    other.write_text(
        "from __future__ import annotations\n"
        "from pydantic import PositiveInt\n"
        "from pg_platform.config.section import Section\n"
        "class Options(Section):\n    k: PositiveInt = 3\n"
        "def evaluate(trained, options): ...\n"
    )
    assert read_evaluation(other) is read_evaluation(other)
    assert read_evaluation(other).Options().model_dump() == {"k": 3}


def test_a_folder_without_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        load_trained(tmp_path, CPU)


def test_pg_eval_writes_to_the_run_that_it_evaluates(tmp_path: Path) -> None:
    file, home = write_experiment(tmp_path, {"epochs": 1}), tmp_path / "home"
    assert run(["pg-train", str(file), "--local"], home).returncode == 0
    with Store.open(home) as store:
        (before,) = store.finished_trials("train")
    done = run(["pg-eval", "knn", before.run_id, "--set", "k=5"], home)
    assert done.returncode == 0, done.stderr
    with Store.open(home) as store:
        (after,) = store.finished_trials("train")
    assert after.run_id == before.run_id
    assert 0 < after.metrics["knn/top1_k5_T0.07"] <= after.metrics["knn/top5_k5_T0.07"] <= 1
    by_folder = run(
        ["pg-eval", "knn", str(home / before.tags["pg.checkpoints"]), "--set", "k=5"], home
    )
    assert by_folder.stdout.splitlines()[0].endswith("  knn  (computed before)")
    assert by_folder.stdout.splitlines()[1:] == done.stdout.splitlines()[1:]
    assert f"top1_k5_T0.07     {after.metrics['knn/top1_k5_T0.07']:.4f}" in done.stdout
    assert not done.stderr
    other = run(["pg-eval", "knn", before.run_id, "--set", "k=3"], home)
    back = run(["pg-eval", "knn", before.run_id, "--set", "k=5"], home)
    assert "computed before" not in other.stdout + back.stdout  # the run has those of k = 3 by now
    assert back.stdout == done.stdout
    fresh = ["pg-eval", "knn", before.run_id, "--set", "k=5", "--fresh"]
    printed, seen = run_in_terminal(fresh, home)
    assert printed == done.stdout
    assert all(what in seen for what in ("features of train", "features of val", "100%"))


def test_a_run_that_an_evaluation_does_not_fit_is_an_error_alone_and_told_in_a_group(
    tmp_path: Path,
) -> None:
    changes = {"epochs": 1, "speaker": {"gate": {"kind": "all"}}}
    file, home = write_experiment(tmp_path, changes), tmp_path / "home"
    assert run(["pg-train", str(file), "--local"], home).returncode == 0
    alone = run(["pg-eval", "heat_maps", "train"], home)
    assert alone.returncode == 2
    assert "the speaker ranks no patches" in alone.stderr
    (folder,) = (home / "trials").iterdir()
    told = measure("heat_maps", "{}", folder, CPU)
    assert isinstance(told, ValueError)
    assert isinstance(measure("knn", Options(k=5).model_dump_json(), folder, CPU), EvaluationResult)


@pytest.mark.slow
def test_pg_eval_on_a_cluster_finds_what_it_finds_here(tmp_path: Path) -> None:
    file, home = write_sweep(tmp_path, {"experiment": {"epochs": 1}, "seeds": 1}), tmp_path / "home"
    assert run(["pg-sweep", str(file)], home).returncode == 0
    here = run(["pg-eval", "form,success", "small"], home)
    assert here.returncode == 0, here.stderr
    assert re.search(r"\n    length +\d+\.\d{4}  \[\d+\.\d{4}, \d+\.\d{4}\]\n", here.stdout)
    assert re.search(r"\n    length_null_mean +\d", here.stdout)
    assert "length_low" not in here.stdout
    head = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        command = ["pg-eval", "form,success", "small", "--fresh", "--address", cluster.address]
        there = run(command, home)
    finally:
        cluster.shutdown()
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    results = [line for line in there.stdout.splitlines() if line[:1] != " "]
    assert [line.split("  ")[0] for line in results] == TWICE


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["knm", "x"], "did you mean knn"),
        (["knn", "x"], "x is no run id, no folder and no sweep"),
        (["knn,from", "x"], "did you mean form"),
        (["knn,form", "x", "--set", "k=1"], "takes no --set"),
        (["knn", "x", "--set", "k=0"], "k: wants more than 0"),
        (["knn", "x", "--set", "temprature=3"], "unknown key; did you mean 'temperature'?"),
    ],
)
def test_mistakes_of_pg_eval(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = run(["pg-eval", *arguments], tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
