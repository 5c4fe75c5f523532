"""Reading one experiment: differences from the defaults, overrides, recipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pg_platform.config.experiment import AdamW, Digits, Experiment, ImageFolder, Resources, Sgd
from pg_platform.config.overrides import load_recipe
from pg_platform.config.paths import RECIPES
from pg_platform.config.section import ConfigError, Document
from pg_platform.sweep.load import load_experiment

quick = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def load(folder: Path, text: str, *overrides: str) -> Experiment:
    file = folder / "experiment.yaml"
    file.write_text(text)
    return load_experiment(file, overrides)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, inner in values.items():
        deeper = isinstance(inner, dict)
        leaves |= flat(inner, f"{prefix}{key}.") if deeper else {prefix + key: inner}
    return leaves


def test_a_file_that_names_no_recipe_has_the_recipe_default(tmp_path: Path) -> None:
    assert load(tmp_path, "{}") == load_recipe("default") != Experiment()
    assert load(tmp_path, "recipe: photos") == Experiment()


def test_a_file_states_differences(tmp_path: Path) -> None:
    experiment = load(
        tmp_path,
        """
        recipe: photos
        epochs: 3
        data: {kind: image_folder, path: data/imagenet}
        views: {crop: null, speaker: {blur: 0}}
        optimizer: {lr: 1}
        """,
    )
    assert experiment.epochs == 3
    imagenet = str(Path.cwd() / "data/imagenet")
    assert experiment.data == ImageFolder(kind="image_folder", path=imagenet)
    assert experiment.views.crop is None
    assert experiment.views.speaker.blur == 0.0
    assert experiment.views.listener == Experiment().views.listener
    assert experiment.optimizer == AdamW(lr=1.0)
    assert isinstance(experiment.optimizer.lr, float)


def test_a_section_without_kind_keeps_the_kind_of_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "data: {image_size: 56}").data == Digits(image_size=56)


def test_values_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Experiment().epochs = 3  # type: ignore[misc]


def test_an_experiment_survives_json() -> None:
    experiment = Experiment(optimizer=Sgd(kind="sgd", lr=1e-5))
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    assert Experiment.model_validate(json.loads(experiment.model_dump_json())) == experiment


def test_a_document_is_any_section(tmp_path: Path) -> None:
    file = tmp_path / "resources.yaml"
    file.write_text("workers: 2\n")
    assert Document.read(file).parse(Resources) == Resources(workers=2)
    file.write_text("worker: 2\nworkers: 0\n")
    with pytest.raises(ConfigError) as error:
        Document.read(file).parse(Resources)
    assert error.value.problems == [
        f"{file}:1:1: worker: unknown key; did you mean 'workers'?",
        f"{file}:2:10: workers: wants more than 0, got 0",
    ]


valid_leaves = st.one_of(
    st.tuples(st.just("optimizer.lr"), st.floats(0, exclude_min=True, allow_infinity=False)),
    st.tuples(st.just("optimizer.weight_decay"), st.floats(0, allow_infinity=False)),
    st.tuples(st.just("optimizer.clip_norm"), st.none() | st.integers(1, 10).map(float)),
    st.tuples(st.just("views.flip"), st.floats(0, 1)),
    st.tuples(st.just("speaker.vocab_size"), st.integers(2, 65536)),
    st.tuples(st.just("seed"), st.integers(0, 2**64)),
    st.tuples(st.just("precision"), st.sampled_from(["auto", "bf16", "float32"])),
    st.tuples(
        st.just("views.crop.scale"),
        st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1)),
    ),
    st.tuples(st.just("views.crop.ratio"), st.tuples(st.just(0.5), st.floats(1, 9))),
)


@quick
@given(leaf=valid_leaves)
def test_any_valid_value_is_read_as_it_is(tmp_path: Path, leaf: tuple[str, Any]) -> None:
    key, value = leaf
    text = json.dumps(value)
    *sections, last = key.split(".")
    opening = "".join(f"{section}: {{" for section in sections)
    by_file = load(tmp_path, f"{opening}{last}: {text}{'}' * len(sections)}")
    assert by_file == load(tmp_path, "{}", f"{key}={text}")
    assert flat(by_file.model_dump())[key] == value


def test_overrides_win_and_the_last_one_most(tmp_path: Path) -> None:
    experiment = load(
        tmp_path,
        "epochs: 3\noptimizer: {lr: 1e-3}",
        "epochs=4",
        "optimizer.clip_norm=1",
        "epochs=5",
        "optimizer.lr=2e-3",
    )
    assert experiment.epochs == 5
    assert experiment.optimizer == AdamW(lr=2e-3, clip_norm=1.0)


def test_an_override_replaces_a_section_whole(tmp_path: Path) -> None:
    text = "optimizer: {lr: 1e-3, min_lr: 1e-6}"
    assert load(tmp_path, text, "optimizer={weight_decay: 0}").optimizer == AdamW(weight_decay=0.0)
    text = "recipe: paper"
    replaced = load(tmp_path, text, "data={kind: digits}", "speaker={patch_size: 14}")
    assert replaced.data == Digits()
    assert replaced.optimizer == load(tmp_path, text).optimizer


def test_an_override_may_switch_the_recipe(tmp_path: Path) -> None:
    by_file = load(tmp_path, "recipe: official")
    assert load(tmp_path, "{}", "recipe=official") == by_file
    assert load(tmp_path, "recipe: paper", "recipe=official") == by_file


RECIPE_DIFFERENCES: dict[str, dict[str, Any]] = {
    "photos": {},
    "default": {
        "batch_size": 128,
        "speaker.symbol.hidden": 128,
        "speaker.temperature.start": 2.0,
        "speaker.rank.kind": "conv3",
        "speaker.rank.width": 16,
        "listener.text.width": 64,
        "listener.text.depth": 1,
        "listener.text.heads": 4,
        "listener.vision.kind": "conv4",
        "listener.vision.width": 16,
        "listener.vision.pool": "flatten",
        "listener.head.hidden": 256,
        "listener.head.out": 64,
        "optimizer.lr": 2e-3,
    },
    "paper": {
        "data.image_size": 224,
        "speaker.patch_size": 32,
        "speaker.symbol.initial_logit_std": None,
        "speaker.gate.clamp": 0.0,
        "contrast.learned": False,
        "contrast.reduction": "sum",
        "optimizer.kind": "sgd",
        "optimizer.lr": 1e-4,
        "optimizer.lr_batch_size": None,
        "optimizer.warmup_fraction": 0.3,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 0.0,
    },
    "official": {
        "precision": "fp16",
        "worker_noise": "same",
        "data.image_size": 224,
        "speaker.patch_size": 32,
        "speaker.symbol.kind": "vit",
        "speaker.symbol.width": 192,
        "speaker.symbol.depth": 12,
        "speaker.symbol.heads": 3,
        "speaker.symbol.initial_logit_std": None,
        "speaker.temperature.schedule": "linear",
        "speaker.temperature.update": "epoch",
        "speaker.soft_rank.normalize": False,
        "speaker.gate.sample": "soft",
        "speaker.gate.law": "difference",
        "listener.text.norm": "post",
        "listener.text.activation": "relu",
        "listener.text.unsent": "scaled",
        "listener.vision.zero_init_residual": True,
        "listener.head.wide": 65536,
        "listener.head.wide_frozen_epochs": 1,
        "contrast.min_temperature": None,
        "contrast.gather": "detached",
        "optimizer.lr": 1e-4,
        "optimizer.min_lr": 1e-5,
        "optimizer.warmup_fraction": 0.3,
        "optimizer.weight_decay": 0.04,
        "optimizer.weight_decay_end": 0.4,
        "optimizer.decayed": "all_but_vectors",
    },
}


def test_all_recipes_are_pinned() -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} == set(RECIPE_DIFFERENCES)


@pytest.mark.parametrize("recipe", RECIPE_DIFFERENCES)
def test_what_a_recipe_changes(tmp_path: Path, recipe: str) -> None:
    ours = flat(Experiment().model_dump())
    theirs = flat(load(tmp_path, f"recipe: {recipe}").model_dump())
    changed = {key for key, value in theirs.items() if key not in ours or ours[key] != value}
    assert {key: theirs[key] for key in changed} == RECIPE_DIFFERENCES[recipe]


def test_a_file_is_merged_over_its_recipe(tmp_path: Path) -> None:
    experiment = load(
        tmp_path,
        """
        recipe: paper
        data: {kind: image_folder, path: here}
        optimizer: {lr: 0.1}
        """,
    )
    assert experiment.data == ImageFolder(kind="image_folder", path=str(Path.cwd() / "here"))
    recipe = load(tmp_path, "recipe: paper").optimizer
    assert experiment.optimizer == recipe.model_copy(update={"lr": 0.1})


def test_another_kind_replaces_the_section_of_the_recipe(tmp_path: Path) -> None:
    experiment = load(tmp_path, "recipe: paper\noptimizer: {kind: adamw}")
    assert experiment.optimizer == AdamW()


def test_an_error_between_a_recipe_and_the_reader_is_where_the_reader_can_mend_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "recipe: paper", "data={image_size: 28}")
    (problem,) = error.value.problems
    assert problem.startswith("--set data={image_size: 28}: speaker.patch_size: wants a divisor of")
    with pytest.raises(ConfigError, match=r"\.yaml:1:22: batch_size: wants a multiple of"):
        load(tmp_path, "resources: {workers: 3}")


def test_a_key_that_a_recipe_has_for_another_kind_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hidden: unknown key; .*write speaker\.symbol whole"):
        load(tmp_path, "{}", "speaker.symbol.kind=affine")
    assert load(tmp_path, "speaker: {symbol: {kind: affine}}").speaker.symbol.kind == "affine"


def test_config_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "ray", "mlflow", "pandas", "scipy", "sklearn", "pyarrow"}
    code = (
        "import sys, pg_platform.sweep.load, pg_platform.sweep.trials;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ("{device: cuda}", "cuda wants resources.gpus_per_worker above 0"),
        ("{device: cpu, gpus_per_worker: 1}", "cpu wants resources.gpus_per_worker 0, got 1"),
        ("{device: mps, workers: 2}", "wants 1 where resources.device is mps"),
    ],
)
def test_a_device_that_the_other_resources_are_not_for_is_refused(
    tmp_path: Path, resources: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f"resources: {resources}")
