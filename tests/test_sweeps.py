"""Sweep files: those that ship, and what a sweep file means."""

from __future__ import annotations

import itertools
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pg_platform.config.experiment import AdamW, Experiment, MlpSymbols, Sgd
from pg_platform.config.metrics import metric_names
from pg_platform.config.overrides import differences, load_recipe
from pg_platform.config.paths import recipe_names, sweeps
from pg_platform.config.section import ConfigError
from pg_platform.sweep.json_schema import SHIPPED, written
from pg_platform.sweep.load import (
    Metric,
    Sweep,
    is_collection,
    load_collection,
    load_sweep,
    without_recipe,
)
from pg_platform.sweep.parameters import Range
from pg_platform.sweep.trials import plan
from tests.commands import in_header

FILES = sorted(file for file in sweeps().glob("*.yaml") if not is_collection(file))
SCALED = [(file, scale) for file in FILES for scale in load_sweep(file, []).file.scales]


def load(folder: Path, text: str, *overrides: str) -> Sweep:
    file = folder / "sweep.yaml"
    file.write_text(text)
    return load_sweep(file, overrides)


def header(file: Path) -> list[str]:
    lines = file.read_text().splitlines()
    return [line.removeprefix("#").strip() for line in lines if line.startswith("#")]


def test_the_sweeps_that_ship() -> None:
    names = {file.stem for file in FILES}
    name, files = load_collection(sweeps() / "paper.yaml")
    assert name == "paper"
    listed = [file.stem for file in files]
    assert {"learning_rate", "message_length", "vocab_size", "vocab_length"} < set(listed)
    assert {"batch_size", "augmentations", "patch_size"} < set(listed)
    assert names == {"smoke", "recipe_bridge", "learning", *listed}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_sweep_that_ships(file: Path) -> None:
    opening = header(file)
    assert any(
        word in " ".join(opening[:2]) for word in ("Fig. ", "Table ", "make demo", "recipe default")
    )
    assert any(line.startswith("Cost:") for line in opening)
    assert any(line.startswith("Expected:") for line in opening)
    sweep = load_sweep(file, [])
    assert sweep.name == file.stem
    trials = plan(sweep, lambda data: data.kind)
    assert len(trials) == len(sweep.points) * len(sweep.seeds)
    assert len({trial.id for trial in trials}) == len(trials)
    assert len({trial.name for trial in trials}) == len(trials)
    assert sweep.metric.name in metric_names(sweep.experiment)


@pytest.mark.parametrize("file", sorted(sweeps().glob("*.yaml")), ids=lambda file: file.stem)
def test_the_commands_in_a_header_are_the_forms_that_the_file_has(file: Path) -> None:
    scales = [] if is_collection(file) else list(load_sweep(file, []).file.scales)
    listed = ["small", "medium"] if is_collection(file) else scales
    assert in_header(file) == [
        ["pg-sweep", file.stem],
        *(["pg-sweep", file.stem, "--scale", scale] for scale in listed),
    ]


@pytest.mark.parametrize(
    ("file", "scale"), SCALED, ids=[f"{file.stem}-{scale}" for file, scale in SCALED]
)
def test_a_scale_asks_the_same_question_of_a_laptop(file: Path, scale: str) -> None:
    full, sweep = load_sweep(file, []), load_sweep(file, [], scale)
    assert sweep.name == f"{full.name}_{scale}"
    assert list(sweep.parameters) == list(full.parameters)
    assert len(sweep.points) == len(full.points)
    assert sweep.metric == full.metric
    ours, papers = sweep.file.paper, full.file.paper
    assert (ours is None) == (papers is None)
    if ours is not None and papers is not None:
        assert ours.answers == papers.answers
        asked = [[(c.parameter, c.direction) for c in each.claims] for each in (ours, papers)]
        assert asked[0] == asked[1]
    assert {e.data.kind for e in sweep.experiments} <= {"digits", "shapes", "cifar10"}
    assert sweep.experiment.resources.gpus_per_worker == 0
    trials = plan(sweep, lambda data: data.kind)
    assert len({trial.id for trial in trials}) == len(sweep.points) * len(sweep.seeds)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_numbers_of_the_paper_are_those_of_points_of_the_file(file: Path) -> None:
    sweep = load_sweep(file, [])
    groups = {trial.group for trial in plan(sweep, lambda data: data.kind)}
    paper = sweep.file.paper
    if paper is None:
        return
    assert paper.values.keys() <= groups
    assert bool(paper.values) == bool(paper.values_are)
    for claim in paper.claims:
        values = sweep.parameters[claim.parameter]
        assert all(isinstance(value, int | float) for value in values), claim.parameter


def test_points_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        """
        name: order
        parameters:
          speaker.vocab_size: {values: [8, 4]}
          epochs: {values: [1, 2]}
        """,
    )
    assert list(sweep.parameters) == ["speaker.vocab_size", "epochs"]
    assert [tuple(point.values()) for point in sweep.points] == [(8, 1), (8, 2), (4, 1), (4, 2)]
    got = [(e.speaker.vocab_size, e.epochs) for e in sweep.experiments]
    assert got == [(8, 1), (8, 2), (4, 1), (4, 2)]


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (0, 1, 2)), ("1", (0,)), ("[7]", (7,)), ("[4, 0]", (4, 0))]
)
def test_seeds(tmp_path: Path, text: str, seeds: tuple[int, ...]) -> None:
    sweep = load(tmp_path, f"name: seeds\nseeds: {text}")
    assert sweep.seeds == seeds
    assert [trial.seed for trial in plan(sweep, lambda _: "")] == list(seeds)


def test_a_sweep_without_parameters_is_one_point(tmp_path: Path) -> None:
    sweep = load(tmp_path, "name: one\nseeds: 2")
    assert sweep.points == ({},)
    names = [(trial.name, trial.group) for trial in plan(sweep, lambda _: "")]
    assert names == [("seed=0", "base"), ("seed=1", "base")]


def test_the_metric_follows_the_pool(tmp_path: Path) -> None:
    text = "name: pool\nexperiment: {validation: {pool_size: 64}}"
    assert load(tmp_path, text).metric == Metric(name="val/top1_pool64", goal="maximize")
    chosen = load(tmp_path, text, "metric={name: train/loss, goal: minimize}")
    assert chosen.metric == Metric(name="train/loss", goal="minimize")


def test_sections_and_null_are_values_too(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        """
        name: sections
        parameters:
          views.crop: {values: [null, {scale: [0.5, 1]}]}
          optimizer: {values: [{kind: sgd, lr: 1e-4}, {lr: 1e-3}]}
        experiment: {optimizer: {min_lr: 1e-6}}
        """,
    )
    crops = [e.views.crop for e in sweep.experiments]
    assert crops[0] is None
    assert crops[2] is not None
    assert crops[2].scale == (0.5, 1.0)
    assert [e.optimizer for e in sweep.experiments[:2]] == [
        Sgd(kind="sgd", lr=1e-4),
        AdamW(lr=1e-3),
    ]


def test_a_value_that_fits_only_with_another_parameter(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        """
        name: fits
        parameters:
          speaker.patch_size: {values: [8, 16]}
          data.image_size: {values: [32, 64]}
        """,
    )
    assert [e.patches for e in sweep.experiments] == [16, 64, 4, 16]


def test_recipe_differences_and_resources_reach_every_point(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        """
        name: layers
        recipe: paper
        parameters: {optimizer.momentum: {values: [0, 0.9]}}
        resources: {workers: 4}
        experiment: {epochs: 3, optimizer: {lr: 1e-2}}
        """,
    )
    for experiment in sweep.experiments:
        assert isinstance(experiment.optimizer, Sgd)
        assert experiment.optimizer.lr_batch_size is None
        assert experiment.optimizer.lr == 1e-2
        assert (experiment.epochs, experiment.resources.workers) == (3, 4)


def test_overrides_reach_parameters_with_dotted_names(tmp_path: Path) -> None:
    text = "name: dots\nparameters: {speaker.vocab_size: {values: [2]}}"
    changed = load(tmp_path, text, "parameters.speaker.vocab_size.values=[4, 8]")
    assert changed.parameters == {"speaker.vocab_size": (4, 8)}
    added = load(tmp_path, text, "parameters.optimizer.lr={values: [1e-4]}")
    assert added.parameters == {"speaker.vocab_size": (2,), "optimizer.lr": (1e-4,)}
    replaced = load(tmp_path, text, "parameters={epochs: {values: [1]}}", "seeds=[5]")
    assert (replaced.parameters, replaced.seeds) == ({"epochs": (1,)}, (5,))


@pytest.mark.parametrize(
    "overrides", [(), ("seeds=[3]", "recipe=paper", "experiment.data={image_size: 64}")]
)
def test_the_source_loads_as_the_same_sweep(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    text = """
        name: source
        recipe: official
        parameters:
          optimizer.lr: {values: [1e-4, 1]}
          optimizer.clip_norm: {values: [null, 1.5]}
        experiment: {data: {kind: parquet, path: "1e-4", label_column: on}}
        """
    sweep = load(tmp_path, text, *overrides)
    again = load(tmp_path, sweep.source)
    written = replace(sweep, source="", file=again.file)
    assert replace(again, source="") == written
    assert all(override.split("=")[0] in sweep.source for override in overrides)


def test_a_stored_sweep_is_read_with_the_recipe_that_it_ran_with(tmp_path: Path) -> None:
    """The text that a run keeps: of today, and of before, when no recipe meant no differences."""
    for recipe in recipe_names():
        sweep = load(tmp_path, f"name: s\nrecipe: {recipe}\n")
        assert load(tmp_path, without_recipe(sweep.source)).experiments == sweep.experiments
    before = load(tmp_path, without_recipe("name: s\nexperiment: {epochs: 3}\n"))
    assert before.experiment == Experiment(epochs=3)
    assert before.experiment != load(tmp_path, "name: s\nexperiment: {epochs: 3}\n").experiment


def test_each_rung_of_a_ladder_keeps_the_changes_below_it(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        """
        name: s
        method: ladder
        ladder:
          - {optimizer.lr: 1e-3}
          - {speaker.gate: {kind: all}, batch_size: 64}
        """,
    )
    rates = [experiment.optimizer.lr for experiment in sweep.experiments]
    assert rates == [load_recipe("default").optimizer.lr, 1e-3, 1e-3]
    assert [e.speaker.gate.kind for e in sweep.experiments] == ["bernoulli", "bernoulli", "all"]
    assert [e.batch_size for e in sweep.experiments] == [128, 128, 64]
    names = [trial.name for trial in plan(sweep, lambda data: data.kind)]
    assert names == [
        "rung=00 as it is seed=0",
        "rung=01 optimizer.lr=1e-3 seed=0",
        "rung=02 speaker.gate={kind: 'all'} batch_size=64 seed=0",
    ]


def test_the_bridge_leads_from_the_official_recipe_to_that_of_the_paper() -> None:
    """One key at a time: a rung changes one value, or one section to another kind."""
    sweep = load_sweep(sweeps() / "recipe_bridge.yaml", [])
    shared = {"epochs", "data", "resources"}
    for end, recipe in ((0, "official"), (-1, "paper")):
        bridge = sweep.experiments[end].model_dump(exclude=shared)
        assert bridge == load_recipe(recipe).model_dump(exclude=shared)
    for below, above in pairwise(sweep.experiments):
        changed = differences(below, above)
        assert len({key.rpartition(".")[0] for key, _, _ in changed}) == 1, changed
        assert len(changed) == 1 or any(key.endswith(".kind") for key, _, _ in changed), changed


def test_a_rule_leaves_a_key_at_the_value_of_the_base(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        """
        name: when
        parameters:
          optimizer.kind: {values: [adamw, sgd]}
          optimizer.momentum: {values: [0, 0.5]}
        when: {optimizer.momentum: optimizer.kind == 'sgd'}
        baseline: {optimizer.momentum: 0.5}
        """,
    )
    assert [trial.group for trial in plan(sweep, lambda _: "")] == [
        "kind=adamw",
        "kind=sgd momentum=0",
        "kind=sgd momentum=0.5",
    ]
    assert [type(e.optimizer) for e in sweep.experiments] == [AdamW, Sgd, Sgd]


def test_an_excluded_point_need_be_no_experiment(tmp_path: Path) -> None:
    text = """
        name: exclude
        parameters:
          speaker.patch_size: {values: [7, 8]}
          data.image_size: {values: [28, 32]}
        exclude: [speaker.patch_size == 7 and data.image_size == 32]
        include: [{batch_size: 64}]
        """
    sweep = load(tmp_path, text, "exclude=['data.image_size / speaker.patch_size != 4']")
    assert [(e.speaker.patch_size, e.data.image_size) for e in sweep.experiments] == [
        (7, 28),
        (8, 32),
        (7, 28),
    ]
    assert sweep.points[-1] == {"batch_size": 64}
    with pytest.raises(ConfigError, match=r"wants a divisor of data\.image_size 28"):
        load(tmp_path, text)


def test_points_alone(tmp_path: Path) -> None:
    text = "name: points\nmethod: points\ninclude: [{epochs: 3}, {batch_size: 64, epochs: 2}]"
    sweep = load(tmp_path, text)
    assert sweep.points == ({"epochs": 3}, {"batch_size": 64, "epochs": 2})
    assert sweep.parameters == {"epochs": (3, 2), "batch_size": (64,)}
    names = [trial.name for trial in plan(sweep, lambda _: "")]
    assert names == ["epochs=3 seed=0", "B=64 epochs=2 seed=0"]


RANDOM = """
name: random
method: random
samples: 20
parameters:
  optimizer.lr: {min: 1e-5, max: 1e-1, distribution: log_uniform}
  speaker.vocab_size: {min: 2, max: 64, distribution: log_int}
  speaker.symbol.hidden: {min: 64, max: 256, q: 32}
  epochs: {values: [1, 2]}
  batch_size: {values: [32, 64]}
zip: [[epochs, batch_size]]
exclude: [epochs == 2 and speaker.vocab_size > 8]
"""


def test_a_random_search_draws_the_same_points_for_a_seed(tmp_path: Path) -> None:
    sweep = load(tmp_path, RANDOM)
    assert load(tmp_path, RANDOM).points == sweep.points
    assert load(tmp_path, sweep.source).points == sweep.points
    assert load(tmp_path, RANDOM, "search_seed=1").points != sweep.points
    assert len(set(sweep.experiments)) == 20
    assert {e.batch_size // e.epochs for e in sweep.experiments} == {32}
    assert {e.epochs for e in sweep.experiments} == {1, 2}
    for e in sweep.experiments:
        assert 1e-5 <= e.optimizer.lr <= 1e-1
        assert e.epochs == 1 or e.speaker.vocab_size <= 8
        assert isinstance(e.speaker.symbol, MlpSymbols)
        assert e.speaker.symbol.hidden % 32 == 0
    small = sum(e.optimizer.lr < 1e-3 for e in sweep.experiments)
    assert 4 <= small <= 16


def test_as_many_samples_as_there_are_points(tmp_path: Path) -> None:
    text = "name: all\nmethod: random\nsamples: 4\nparameters: {epochs: {values: [1, 2, 3, 4]}}"
    sweep = load(tmp_path, text)
    assert {e.epochs for e in sweep.experiments} == {1, 2, 3, 4}


def test_the_space_of_a_search_that_learns(tmp_path: Path) -> None:
    sweep = load(tmp_path, RANDOM, "method=bayes", "experiment.epochs=7")
    assert sweep.points == ()
    assert sweep.experiment == sweep.base
    assert sweep.base.epochs == 7
    space = sweep.space
    assert space is not None
    lr, vocab_size, hidden, epochs = space.dimensions
    assert lr.range == Range(1e-5, 1e-1, log=True, whole=False, step=None)
    assert vocab_size.range == Range(2, 64, log=True, whole=True, step=None)
    assert hidden.range == Range(64, 256, log=False, whole=True, step=32)
    assert [d.count for d in space.dimensions] == [None, 63, 7, 2]
    assert (epochs.key, epochs.values, epochs.range) == ("epochs", (1, 2), None)
    chosen = {"optimizer.lr": 1e-3, "speaker.vocab_size": 8, "speaker.symbol.hidden": 64}
    point = space.point({**chosen, "epochs": 2})
    assert point is not None
    assert point.values == {**chosen, "epochs": 2, "batch_size": 64}
    assert point.experiment.batch_size == 64
    assert space.point({**chosen, "epochs": 2, "speaker.vocab_size": 9}) is None
    with pytest.raises(
        ConfigError, match=r"optimizer\.lr: wants a number from 1e-05 to 0\.1, got 1"
    ):
        space.point({**chosen, "epochs": 1, "optimizer.lr": 1})
    with pytest.raises(ConfigError, match="epochs: is missing"):
        space.point(chosen)
    assert load(tmp_path, sweep.source).space == space


@pytest.mark.parametrize("name", ["train/loss:epochs_to:0.5", "val/top1_pool512:area"])
def test_a_metric_may_be_derived(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, f"name: derived\nmetric: {{name: '{name}'}}").metric.name == name


def test_the_schema_that_ships_is_up_to_date() -> None:
    assert SHIPPED.read_text() == written()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    first=st.integers(1, 4),
    third=st.integers(1, 3),
    zipped=st.booleans(),
    limit=st.integers(0, 5),
    left_out=st.integers(2, 9),
)
def test_rules_on_a_grid_are_those_of_a_loop(
    tmp_path: Path,
    first: int,
    third: int,
    zipped: bool,  # noqa: FBT001
    limit: int,
    left_out: int,
) -> None:
    epochs, sizes = list(range(1, first + 1)), [10 * n for n in range(1, first + 1)]
    vocabularies = list(range(2, 2 + third))
    text = f"""
        name: loop
        parameters:
          speaker.vocab_size: {{values: {vocabularies}}}
          epochs: {{values: {epochs}}}
          batch_size: {{values: {sizes}}}
        when: {{speaker.vocab_size: epochs <= {limit}}}
        exclude: [speaker.vocab_size + epochs == {left_out}]
        zip: {[["epochs", "batch_size"]] if zipped else []}
        """
    wanted: list[dict[str, int]] = []
    base = Experiment().speaker.vocab_size
    for vocab_size, epoch, size in itertools.product(vocabularies, epochs, sizes):
        varied = {"speaker.vocab_size": vocab_size} if epoch <= limit else {}
        point = {**varied, "epochs": epoch, "batch_size": size}
        out = varied.get("speaker.vocab_size", base) + epoch == left_out
        if not (zipped and size != 10 * epoch) and not out and point not in wanted:
            wanted.append(point)
    if not wanted:
        with pytest.raises(ConfigError, match="leaves no point"):
            load(tmp_path, text)
        return
    assert list(load(tmp_path, text).points) == wanted
