"""Which end of a metric is the good one: known by its name, or asked for."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pg_platform.config.experiment import Experiment, Resources
from pg_platform.config.metrics import direction, measure, metric_names, reported
from pg_platform.config.section import ConfigError
from pg_platform.driver.control import Control
from pg_platform.driver.driver import SweepResult, run_sweep
from pg_platform.driver.scheduler import Scheduler, Segment
from pg_platform.report.comparison import compare, print_table
from pg_platform.report.report import description
from pg_platform.report.summary import answer, caveats
from pg_platform.store.mlflow_views import TAG
from pg_platform.store.store import Store
from pg_platform.sweep.load import Metric, Sweep, load_sweep
from pg_platform.training.history import Outcome, Row
from tests.commands import run
from tests.results import stored, vocabularies
from tests.small import write_sweep

UNDECIDED = {
    "train/message_length",
    *("msg/length", "msg/active_symbols", "msg/symbol_entropy_bits"),
    *("optim/lr", "optim/symbol_temperature", "optim/grad_norm"),
    *("data/train_images", "data/val_images"),
}
SMALLER = {
    "train/loss",
    "optim/skipped_steps",
    "perf/data_wait_share",
    "perf/peak_memory_gib",
    "data/broken_images",
}
EPOCHS = 9


def load(folder: Path, text: str, *overrides: str) -> Sweep:
    file = folder / "s.yaml"
    file.write_text(f"name: directions\n{text}\n")
    return load_sweep(file, overrides)


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_every_metric_has_a_known_end_or_is_known_to_have_none(precision: str) -> None:
    names = metric_names(Experiment.model_validate({"precision": precision}))
    assert {name for name in names if direction(name) is None} == UNDECIDED
    smaller = {name for name in names if direction(name) == "minimize"}
    assert smaller == SMALLER & set(names)
    assert all(reported(name) is not None for name in names)
    assert all(direction(f"{name}:area") == direction(name) for name in names)
    assert all(direction(f"{name}:epochs_to:0.5") == "minimize" for name in names)


@pytest.mark.parametrize(
    ("name", "goal"),
    [
        ("train/loss", "minimize"),
        ("train/loss:area", "minimize"),
        ("val/top1_pool512", "maximize"),
        ("val/top1_pool512:area", "maximize"),
        ("val/top1_pool512:epochs_to:0.5", "minimize"),
        ("perf/images_per_s", "maximize"),
        ("msg/active_symbols:epochs_to:8", "minimize"),
    ],
)
def test_a_file_may_leave_out_a_goal_that_the_name_decides(
    tmp_path: Path, name: str, goal: str
) -> None:
    metric = load(tmp_path, f"metric: {{name: '{name}'}}").metric
    assert (metric.goal, metric.warning) == (goal, None)
    assert load(tmp_path, "seeds: 1", f"metric.name={name}").metric == metric
    assert load(tmp_path, f"metric: {{name: '{name}', goal: {goal}}}").metric == metric


@pytest.mark.parametrize("name", ["msg/length", "optim/lr:area"])
def test_a_metric_without_a_good_end_wants_a_goal(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, f"metric: {{name: '{name}'}}")
    (said,) = error.value.problems
    assert said == (
        f"{tmp_path / 's.yaml'}:2:16: metric.goal: is missing: neither end of {name} is good by "
        "itself; write maximize or minimize"
    )
    chosen = load(tmp_path, f"metric: {{name: '{name}', goal: minimize}}").metric
    assert (chosen.goal, chosen.warning) == ("minimize", None)
    with pytest.raises(ConfigError, match=r"^--set metric\.name.*: metric\.goal: is missing"):
        load(tmp_path, "seeds: 1", f"metric.name={name}")


@pytest.mark.parametrize(
    ("name", "goal", "base", "of_base"),
    [
        ("train/loss:area", "minimize", "train/loss", "minimize"),
        ("train/loss:area", "maximize", "train/loss", "maximize"),
        ("train/loss:epochs_to:4.5", "minimize", "train/loss", "minimize"),
        ("val/top1_pool64:epochs_to:0.5", "minimize", "val/top1_pool64", "maximize"),
        ("val/top1_pool64:epochs_to:0.5", "maximize", "val/top1_pool64", "minimize"),
        ("msg/length:epochs_to:8", "minimize", "msg/length", "maximize"),
    ],
)
def test_the_good_end_of_what_a_metric_is_measured_from(
    name: str, goal: str, base: str, of_base: str
) -> None:
    metric = Metric.model_validate({"name": name, "goal": goal})
    assert metric.base == Metric.model_validate({"name": base, "goal": of_base})


def test_a_level_of_what_is_to_be_small_is_reached_from_above() -> None:
    falling = list(enumerate([6.0, 5.0, 4.4, 4.0], start=1))
    assert measure(falling, "train/loss:epochs_to:4.5") == 3
    assert measure(falling, "msg/length:epochs_to:4.5") == 1


def test_a_goal_against_the_metric_is_told_wherever_the_sweep_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = load(tmp_path, "metric: {name: train/loss, goal: maximize}").metric
    trials = vocabularies([2, 8], seeds=1)
    runs = {t.id: stored({"train/loss": v}) for t, v in zip(trials, [5.1, 4.7], strict=True)}
    found = compare(trials, runs, metric)
    warning = (
        "Warning: the goal is to maximize train/loss, of which less is better: what is called best "
        "here is the worst (metric.goal: minimize turns it round)."
    )
    assert answer(found).startswith(warning)
    assert description(found, stored({})).startswith(warning)
    assert warning in caveats(found, data="imagenet", device="cuda")
    assert found.table().markdown().startswith(warning)
    assert found.table().latex().startswith(f"% {warning}")
    print_table(found)
    assert "train/loss, larger is better" in capsys.readouterr().out
    file = write_sweep(tmp_path, {"metric": {"name": "train/loss", "goal": "maximize"}})
    told = run(["pg-sweep", str(file), "--dry-run"], tmp_path / "home")
    assert (told.returncode, warning in told.stderr) == (0, True)


class Rule:
    """Plays trials by a rule in place of training: an executor."""

    def __init__(self, rule: Callable[[Mapping[str, Any], int], float], metric: str) -> None:
        self.rule, self.metric = rule, metric

    def run(self, scheduler: Scheduler, resources: Resources, control: Control) -> None:  # noqa: ARG002
        epoch: dict[str, int] = {}
        while isinstance(segment := scheduler.next(), Segment):
            trial, last = segment.trial, segment.until or EPOCHS
            scheduler.begin(trial)
            for at in range(epoch.get(trial.id, 0) + 1, last + 1):
                value = self.rule(trial.point, at) + trial.seed / 1e4
                scheduler.rows(trial, [Row(at, at, at, {self.metric: value})])
            epoch[trial.id] = last
            scheduler.end(trial, Outcome.COMPLETED if last == EPOCHS else Outcome.PAUSED)


def played(folder: Path, store: Store, metric: str, rule: Rule, **words: object) -> SweepResult:
    """A sweep over the learning rate that is played by a rule, with a metric without a goal.

    Its experiments are its own: a store that tests share holds nothing of them.
    """
    changes = {
        "name": folder.name.lower().replace("_", "-")[:60],
        "metric": {"name": metric},
        "parameters": {
            "speaker.vocab_size": {"values": [2]},
            "optimizer.lr": {"values": [1e-3, 2e-3, 3e-3]},
        },
        "experiment": {"epochs": EPOCHS, "views": {"flip": zlib.crc32(bytes(folder)) / 2**32}},
        "early_terminate": {"type": "asha"},
        **words,
    }
    sweep = load_sweep(write_sweep(folder, changes), [])
    return run_sweep(sweep, folder, store, rule)


@pytest.mark.parametrize(
    ("metric", "best", "stop"),
    [
        ("train/loss", 1e-3, "asha"),
        ("train/loss", 1e-3, "median"),
        ("train/loss", 1e-3, "hyperband"),
        ("train/loss:area", 1e-3, "asha"),
        ("train/loss:epochs_to:0.5", 1e-3, "asha"),
        ("val/top1_pool64", 3e-3, "asha"),
        ("val/top1_pool64:epochs_to:0.3", 3e-3, "asha"),
    ],
)
def test_without_a_goal_the_good_end_is_kept_by_whatever_stops_points(
    tmp_path: Path, store: Store, metric: str, best: float, stop: str
) -> None:
    base = metric.partition(":")[0]

    def grown(point: Mapping[str, Any], epoch: int) -> float:
        rate: float = point["optimizer.lr"] * 100
        return rate + epoch / 50 if base.startswith("val/") else 0.5 + rate - epoch / 15

    rule = Rule(grown, base)
    result = played(tmp_path, store, metric, rule, early_terminate={"type": stop})
    assert result.table is not None
    assert result.table.ranked()[0].values["optimizer.lr"] == best
    pruned = {p.values["optimizer.lr"] for p in result.table.points if p.pruned}
    assert best not in pruned
    assert pruned or stop == "hyperband"


def test_what_the_store_keeps_of_a_run_is_its_good_end(tmp_path: Path, store: Store) -> None:
    """The best value, the first metric of the experiment, the order of the saved views."""
    rule = Rule(
        lambda point, epoch: point["optimizer.lr"] * 100 + abs(epoch - 5) / 10, "train/loss"
    )
    metric = "train/loss:epochs_to:0.5"
    result = played(tmp_path, store, metric, rule, early_terminate={"type": "none"})
    first = store.trials(result.run_id)[0].metrics
    assert first["best/train/loss"] == pytest.approx(0.1)
    assert first["final/train/loss"] == pytest.approx(0.5)
    tags = mlflow.MlflowClient(store.uri).get_experiment(result.experiment_id).tags
    primary = "mlflow.experiment.primaryMetric"
    assert (tags[f"{primary}.name"], tags[f"{primary}.greaterIsBetter"]) == ("train/loss", "False")
    packed = json.loads(tags[f"{TAG}pg-table"])["state"].removeprefix("deflate;")
    view = json.loads(zlib.decompress(b64decode(packed)))
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`train/loss`", True)
