"""Trial ids hash what decides a result and nothing else; names tell trials apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pg_platform.config.experiment import Data, Experiment
from pg_platform.config.overrides import load_recipe
from pg_platform.config.section import ConfigError
from pg_platform.sweep.load import load_sweep
from pg_platform.sweep.trials import Trial, compact, plan, short_labels, single, trial_id

DATA: list[dict[str, Any]] = [
    {"kind": "digits"},
    {"kind": "shapes", "image_size": 28},
    {"kind": "cifar10", "path": "a", "image_size": 28},
    {"kind": "stl10", "path": "a", "image_size": 28},
    {"kind": "image_folder", "path": "a", "image_size": 28},
    {"kind": "parquet", "path": "a", "val_path": "b", "image_size": 28},
]
NOT_DECIDING = ("resources.", "checkpoints.", "data.path", "data.val_path", "data.loader_processes")


WORDS = (
    *("bf16", "cpu", "linear", "epoch", "same", "soft", "difference", "minimax"),
    *("post", "relu", "scaled", "detached", "sum", "all_but_vectors"),
)
"""A second choice for each key that has some words to choose from."""


def trials(folder: Path, text: str, *overrides: str) -> tuple[Trial, ...]:
    file = folder / "sweep.yaml"
    file.write_text(text)
    return plan(load_sweep(file, overrides), lambda data: data.kind)


def leaves(values: dict[str, Any], *way: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, *way, key)
        else:
            yield (*way, key), value


def put(values: dict[str, Any], way: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = way
    return {**values, first: put(values[first], tuple(rest), value) if rest else value}


def changed(experiment: Experiment, way: tuple[str, ...], value: Any) -> Experiment:
    """The experiment with another valid value at `way`."""
    numbers = [value * 2, value / 2, value + 1] if isinstance(value, int | float) else []
    pairs = [(value[0] / 2, value[1]), (value[0], value[1] * 2)] if isinstance(value, tuple) else []
    words = [not value, *WORDS, "other", 1, 1.0, 64, {"flip": 0.25}]
    for candidate in (*numbers, *pairs, *words):
        with suppress(ValidationError):
            other = Experiment.model_validate(put(experiment.model_dump(), way, candidate))
            if other != experiment:
                return other
    raise AssertionError(f"no other value for {way}")


@pytest.mark.parametrize("data", DATA, ids=lambda data: str(data["kind"]))
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_each_leaf_decides_or_does_not(data: dict[str, Any], optimizer: str) -> None:
    experiment = Experiment.model_validate(
        {
            "data": data,
            "optimizer": {"kind": optimizer},
            "listener": {"head": {"wide": 16, "wide_frozen_epochs": 1}},
            "batch_norm_images": 4,
        }
    )
    first = trial_id(experiment, "pixels")
    for way, value in leaves(experiment.model_dump()):
        if way[-1] == "kind":
            continue
        same = ".".join(way).startswith(NOT_DECIDING)
        assert (trial_id(changed(experiment, way, value), "pixels") == first) is same, way


def test_kinds_and_switches_decide() -> None:
    variants: list[dict[str, Any]] = [{"data": data} for data in DATA]
    variants += [{"optimizer": {"kind": "sgd"}}, {"views": {"crop": None}}]
    variants += [{"views": {"color_jitter": None}}]
    ids = {trial_id(Experiment.model_validate(variant), "pixels") for variant in variants}
    assert len(ids) == len(variants)


def test_data_decides_by_its_identity() -> None:
    assert trial_id(Experiment(), "digits-1") != trial_id(Experiment(), "digits-2")


def test_an_id_is_12_hex_digits_that_stay() -> None:
    """Whoever changes this id throws away every finished trial: see RESULT_VERSION."""
    first = trial_id(Experiment(), "pixels")
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert first == trial_id(Experiment.model_validate({}), "pixels")


TEXT = """
name: plan
parameters:
  speaker.vocab_size: {values: [8, 4]}
  speaker.symbols_per_patch: {values: [1, 2]}
seeds: 2
"""


def test_names_groups_and_order(tmp_path: Path) -> None:
    planned = trials(tmp_path, TEXT)
    assert [trial.name for trial in planned[:5]] == [
        "V=8 l=1 seed=0",
        "V=8 l=1 seed=1",
        "V=8 l=2 seed=0",
        "V=8 l=2 seed=1",
        "V=4 l=1 seed=0",
    ]
    third = planned[2]
    assert third.group == "V=8 l=2"
    assert third.point == {"speaker.vocab_size": 8, "speaker.symbols_per_patch": 2}
    assert (third.seed, third.experiment.seed, third.data_hash) == (0, 0, "digits")
    assert third.experiment.speaker.symbols_per_patch == 2


def test_more_values_and_seeds_keep_the_old_ids(tmp_path: Path) -> None:
    before = {trial.id: trial.name for trial in trials(tmp_path, TEXT)}
    more = (
        "parameters.speaker.vocab_size.values=[16, 4, 8]",
        "seeds=[5, 1, 0]",
        "resources.workers=2",
    )
    after = {trial.id: trial.name for trial in trials(tmp_path, TEXT, *more)}
    assert before.items() <= after.items()
    assert len(after) == 18


def test_a_parameter_at_its_default_is_the_same_trial(tmp_path: Path) -> None:
    swept = trials(tmp_path, "name: a\nparameters: {speaker.vocab_size: {values: [128]}}")
    assert swept[0].id == trials(tmp_path, "name: b")[0].id


def test_identity_is_asked_once_for_each_data_section(tmp_path: Path) -> None:
    asked: list[Data] = []

    def identity(data: Data) -> str:
        asked.append(data)
        return f"{data.kind}-{len(asked)}"

    file = tmp_path / "sweep.yaml"
    file.write_text(
        TEXT.replace("speaker.symbols_per_patch", "data.image_size").replace("1, 2", "28, 56")
    )
    planned = plan(load_sweep(file, []), identity)
    assert len(asked) == 2
    assert {trial.data_hash for trial in planned} == {"digits-1", "digits-2"}


def test_a_single_run_is_the_trial_that_a_sweep_would_have(tmp_path: Path) -> None:
    in_sweep = trials(tmp_path, "name: one\nseeds: [3]")[0]
    alone = single(
        load_recipe("default").model_copy(update={"seed": 3}), "mine", lambda data: data.kind
    )
    assert (alone.id, alone.experiment) == (in_sweep.id, in_sweep.experiment)
    assert (alone.name, alone.point, alone.seed) == ("mine", {}, 3)


def test_two_folders_with_equal_images_are_one_run(tmp_path: Path) -> None:
    text = """
        name: twins
        recipe: photos
        parameters: {data.path: {values: [a, b]}}
        experiment: {data: {kind: image_folder}}
        """
    with pytest.raises(ConfigError, match=r"^path=\S*/b seed=0 and path=\S*/a seed=0 are one run"):
        trials(tmp_path, text)


def test_labels() -> None:
    keys = [
        "speaker.vocab_size",
        "listener.text.width",
        "listener.vision.width",
        "data.seed",
        "optimizer.min_lr",
        "views.speaker.blur",
        "optimizer.lr",
        "batch_size",
    ]
    assert list(short_labels(keys).values()) == [
        "V",
        "text.width",
        "vision.width",
        "data.seed",
        "min_lr",
        "blur",
        "lr",
        "B",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (64, "64"),
        (0.0005, "0.0005"),
        (1e-5, "1e-05"),
        (2.0, "2"),
        (None, "null"),
        (True, "true"),
        ("sgd", "sgd"),
        ((0.5, 1), "[0.5,1]"),
        ({"kind": "sgd", "lr": 0.1}, "{kind:sgd,lr:0.1}"),
    ],
)
def test_values_in_names(value: object, text: str) -> None:
    assert compact(value) == text
