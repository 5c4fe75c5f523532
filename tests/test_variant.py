"""The names of sweeps that --set and --scale make of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg_platform.config.paths import sweeps
from pg_platform.sweep.load import Sweep, load_sweep
from pg_platform.sweep.schema import safe_variant

SMOKE = sweeps() / "smoke.yaml"


def named(*overrides: str, file: Path = SMOKE, scale: str | None = None) -> str:
    return load_sweep(file, overrides, scale).name


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("experiment.epochs=6", "smoke (epochs=6)"),
        ("experiment.optimizer.lr=1e-3", "smoke (lr=0.001)"),
        ("experiment.optimizer={kind: adamw, lr: 1e-3}", "smoke (lr=0.001)"),
        ("experiment.views.crop=null", "smoke (crop=null)"),
        ("experiment.views.crop.scale=[0.5, 1]", "smoke (scale=0.5,1)"),
        ("recipe=paper", "smoke (recipe=paper)"),
    ],
)
def test_another_experiment_is_another_sweep(override: str, name: str) -> None:
    assert named(override) == name
    assert load_sweep(SMOKE, [override]).family == "smoke"


@pytest.mark.parametrize(
    "override",
    [
        "seeds=5",
        "parameters.speaker.vocab_size.values=[2, 1024]",
        "parameters.optimizer.lr.values=[1e-3, 1e-4]",
        "experiment.epochs=10",  # as the file has it
        "experiment.speaker.vocab_size=7",  # no point has it
        "experiment.checkpoints.every_steps=2",
        "resources.workers=2",
        "resources.max_concurrent=1",
        "budget.trials=1",
        "early_terminate.type=asha",
        "metric={name: train/loss, goal: minimize}",
        "recipe=default",
    ],
)
def test_more_of_the_same_or_another_place_is_the_same_sweep(override: str) -> None:
    assert named(override) == "smoke"


def test_all_that_differs_is_in_the_name_in_the_order_of_the_experiment() -> None:
    both = ["experiment.optimizer.lr=1e-3", "experiment.epochs=6"]
    assert named(*both) == named(*reversed(both)) == "smoke (epochs=6, lr=0.001)"


def test_a_name_of_its_own_is_the_name() -> None:
    assert named("name=quick", "experiment.epochs=6") == "quick"


def test_many_differences_have_one_short_name_each() -> None:
    rates = [f"experiment.optimizer.lr={rate}" for rate in ("1e-3", "1e-4")]
    names = {named("experiment.optimizer={kind: sgd}", "recipe=official", rate) for rate in rates}
    others = {named("experiment.views={crop: null, flip: 0.3}", rate) for rate in rates}
    assert len(names | others) == 4
    assert all(len(name) < 110 for name in names | others)


def test_a_name_can_stand_in_a_path_whatever_is_set(tmp_path: Path) -> None:
    folders = [tmp_path / "a'b", tmp_path / "a%b"]
    data = [
        f'experiment.data={{kind: parquet, path: x, image_size: 16, label_column: "{f}"}}'
        for f in folders
    ]
    loaded = [load_sweep(SMOKE, [each]) for each in data]
    for sweep in loaded:
        assert safe_variant(sweep.file.variant)
        assert "/" not in sweep.name
    assert loaded[0].name != loaded[1].name


def test_a_parameter_that_a_rule_leaves_to_the_base_is_part_of_the_name(tmp_path: Path) -> None:
    file = tmp_path / "when.yaml"
    file.write_text(
        "name: when\nparameters:\n  optimizer.kind: {values: [adamw, sgd]}\n"
        "  batch_size: {values: [64, 128]}\nwhen: {batch_size: optimizer.kind == 'sgd'}\n"
    )
    assert named("experiment.batch_size=32", file=file) == "when (B=32)"


def test_where_data_lie_is_no_part_of_the_name_also_where_the_file_leaves_it_open(
    tmp_path: Path,
) -> None:
    file = tmp_path / "open.yaml"
    file.write_text("name: open\nrecipe: photos\nexperiment: {data: {kind: image_folder}}\n")
    here = f"experiment.data.path={tmp_path}"
    assert named(here, file=file) == "open"
    assert named(here, "experiment.epochs=7", file=file) == "open (epochs=7)"


def test_a_form_of_the_file_without_a_name_of_its_own_has_that_of_the_form(tmp_path: Path) -> None:
    file = tmp_path / "forms.yaml"
    file.write_text(
        "name: forms\nscales:\n  tiny: {experiment.epochs: 1}\n  few: {seeds: 2}\n"
        "  own: {name: forms_own, experiment.epochs: 1}\n"
    )
    forms = ("tiny", "few", "own")
    assert [named(file=file, scale=form) for form in forms] == [
        "forms (tiny)",
        "forms",
        "forms_own",
    ]
    assert named("experiment.epochs=3", file=file, scale="own") == "forms_own (epochs=3)"
    assert named("experiment.epochs=3", file=file, scale="tiny") == "forms (tiny, epochs=3)"


@pytest.mark.parametrize("override", ["experiment.epochs=6", "recipe=paper", "seeds=3"])
def test_what_is_kept_with_the_results_loads_as_the_same_sweep(
    tmp_path: Path, override: str
) -> None:
    sweep = load_sweep(SMOKE, [override])
    file = tmp_path / "kept.yaml"
    file.write_text(sweep.source)
    again = load_sweep(file, [])
    assert (again.name, again.experiments, again.seeds) == (
        sweep.name,
        sweep.experiments,
        sweep.seeds,
    )


def test_a_search_has_a_variant_too(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(
        "name: search\nmethod: bayes\nsamples: 3\n"
        "parameters: {speaker.vocab_size: {min: 2, max: 64}}\n"
    )
    sweep: Sweep = load_sweep(file, ["experiment.epochs=3", "samples=9"])
    assert sweep.name == "search (epochs=3)"
