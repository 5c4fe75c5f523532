"""The report of a sweep, from a real store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from pg_platform.report.comparison import compare
from pg_platform.report.report import SweepReport, description, write_report
from pg_platform.store.runs import TrialRuns
from pg_platform.store.store import NOTE_LIMIT, Store
from pg_platform.sweep.load import Metric, Sweep, load_sweep
from pg_platform.sweep.schema import Claim, Paper
from pg_platform.sweep.trials import Trial
from tests.results import ACCURACY, rows, stored, vocabularies

ACCURACIES = {"V=2": [[0.01, 0.02], [0.02, 0.03]], "V=64": [[0.1, 0.4], [0.2, 0.5]]}
TRIALS = vocabularies([2, 64], seeds=2)


@pytest.fixture
def sweep(tmp_path: Path, request: pytest.FixtureRequest) -> Sweep:
    """A sweep of the test's own."""
    name = request.node.name.replace("[", "-").replace("]", "")
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"name: {name}\nmetric: {{name: {ACCURACY.name}}}\nseeds: 2\n"
        "parameters: {speaker.vocab_size: {values: [2, 64]}}\n"
    )
    return load_sweep(path, [])


def opened(store: Store, sweep: Sweep) -> TrialRuns:
    """The sweep's runs."""
    return TrialRuns.of_sweep(store, sweep, lambda trial: Path("/trials") / trial.id)


def finish(runs: TrialRuns, trials: Sequence[Trial]) -> None:
    """Two epochs of each trial."""
    for trial in trials:
        runs.open(trial)
        runs.log(trial, rows(ACCURACY.name, ACCURACIES[trial.group][trial.seed]))
        runs.finish(trial)


def note(store: Store, runs: TrialRuns) -> str:
    """The description of the sweep's run."""
    assert runs.parent is not None
    return store.look(runs.parent).tags["mlflow.note.content"]


def test_the_sweeps_run_holds_the_answer_the_table_and_the_figure(
    store: Store, sweep: Sweep
) -> None:
    runs = opened(store, sweep)
    finish(runs, TRIALS)
    comparison = SweepReport(runs, sweep, TRIALS).write()
    assert runs.parent is not None
    assert comparison is not None
    assert [point.summary.mean for point in comparison.points] == pytest.approx([0.025, 0.45])
    table = json.loads(store.text(runs.parent, "tables/comparison.json"))
    assert table == json.loads(comparison.table().json())
    assert table["data"][1][:3] == [64, 2, pytest.approx(0.45)]
    text = note(store, runs)
    assert text.startswith("V=64 is best in val/top1_pool512: 0.45 [")
    assert f"(get-artifact?path=report%2Faccuracy_by_images.png&run_uuid={runs.parent})" in text
    assert "viewStateShareKey=pg-curves" in text
    svg = store.text(runs.parent, "report/accuracy_by_images.svg")
    assert "V=64" in svg
    experiment = mlflow.MlflowClient(store.uri).get_experiment(runs.experiment_id)
    assert experiment.tags["mlflow.note.content"] == text


def test_an_unfinished_sweep_says_so(store: Store, sweep: Sweep) -> None:
    runs = opened(store, sweep)
    report = SweepReport(runs, sweep, TRIALS)
    report.write()
    assert note(store, runs).startswith("0 of 4 trials finished. No result yet.")
    finish(runs, TRIALS[:1])
    runs.open(TRIALS[1])
    runs.log(TRIALS[1], rows(ACCURACY.name, [0.9]))
    runs.open(TRIALS[2])
    runs.fail(TRIALS[2], "out of memory", "error")
    comparison = report.write()
    assert note(store, runs).startswith("1 of 4 trials finished, 1 failed. V=2 has ")
    assert comparison is not None
    assert [(p.summary.n, p.failed, p.open) for p in comparison.points] == [(1, 0, 1), (0, 1, 1)]


def test_a_report_is_a_function_of_the_store(store: Store, sweep: Sweep) -> None:
    runs = opened(store, sweep)
    finish(runs, TRIALS)
    assert runs.parent is not None
    first = write_report(store, runs.parent, sweep, TRIALS)
    text = note(store, runs)
    with Store.open(store.artifacts.parent) as other:
        assert write_report(other, runs.parent, sweep, TRIALS) == first
    assert note(store, runs) == text


def test_a_report_measures_histories_and_knows_the_baseline(store: Store, sweep: Sweep) -> None:
    runs = opened(store, sweep)
    finish(runs, TRIALS)
    assert runs.parent is not None
    file = sweep.file.model_copy(update={"baseline": {"speaker.vocab_size": 64}})
    metric = Metric.of(f"{ACCURACY.name}:area")
    comparison = write_report(store, runs.parent, replace(sweep, metric=metric, file=file), TRIALS)
    assert comparison.baseline.group == "V=64"
    assert comparison is not None
    assert [point.summary.mean for point in comparison.points] == pytest.approx([0.02, 0.3])
    assert "V=64" in store.text(runs.parent, "report/accuracy_by_images.svg")
    assert "V=64 is best" in note(store, runs)
    assert "It is the baseline." in note(store, runs)


def test_the_description_says_what_became_of_each_claim(store: Store, sweep: Sweep) -> None:
    runs = opened(store, sweep)
    finish(runs, TRIALS)
    assert runs.parent is not None
    said = Claim(says="More symbols help.", parameter="speaker.vocab_size", direction="increases")
    paper = Paper(answers="Fig. 6c", claims=(said,))
    file = sweep.file.model_copy(update={"paper": paper})
    write_report(store, runs.parent, replace(sweep, file=file), TRIALS)
    assert ": More symbols help (increases with speaker.vocab_size: +" in note(store, runs)


def test_the_figure_of_many_points_has_the_best(store: Store, sweep: Sweep) -> None:
    trials = vocabularies(range(2, 42), seeds=1)
    runs = opened(store, sweep)
    for trial in trials:
        runs.open(trial)
        runs.log(trial, rows(ACCURACY.name, [trial.point["speaker.vocab_size"] / 100]))
        runs.finish(trial)
    SweepReport(runs, sweep, trials).write()
    assert runs.parent is not None
    svg = store.text(runs.parent, "report/accuracy_by_images.svg")
    assert [f">V={v}<" in svg for v in range(2, 42)] == [False] * 28 + [True] * 12
    assert "28 points below the best 12 left out" in svg


def test_a_long_table_is_cut_in_the_description_not_in_the_file() -> None:
    trials = vocabularies(range(2, 402), seeds=1)
    runs = {t.id: stored({ACCURACY.name: 0.1 + t.point["speaker.vocab_size"]}) for t in trials}
    comparison = compare(trials, runs, ACCURACY)
    text = description(comparison, stored({}))
    assert len(text) <= NOTE_LIMIT
    assert "More rows: tables/comparison.csv" in text
    assert "accuracy_by_images.png" in text
    shown = [line for line in text.splitlines() if line.startswith("| &nbsp;")]
    assert all(line.endswith(" |") for line in shown)
    assert 20 < len(shown) < 400
    assert len(comparison.table().csv().splitlines()) == 401
