"""Gradients in float32 on this CPU keep their digits, and no network crashes its process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pg_platform.config.experiment import Experiment
from pg_platform.config.overrides import load_recipe
from pg_platform.config.paths import recipe_names, sweeps
from pg_platform.sweep.load import load_experiment, load_sweep
from tests.small import merged

CLOSE = 1e-4
"""Of the norm of a parameter's gradient."""
FEW = 1e-5
"""Decisions of all that may lie within rounding of their threshold."""
EXAMPLES = Path(__file__).parents[1] / "examples"
RESIDUAL = (
    "recipe=photos",
    "speaker.symbol={hidden: 128}",
    "listener.text={width: 64, depth: 2, heads: 4}",
    "listener.head={hidden: 256, out: 64}",
)
"""The example with the networks of the paper, whose gradients float32 loses most of."""
MANY_DRAWS = 100
FEW_VALUES, MOST_VALUES = 20_000, 65_536
"""Of a channel, in a drawn batch: the terms of a gradient can be a thousand times their sum, and
the more there are, the more digits their sum in float32 loses (7e-5 was seen at 100,000)."""


def in_float32(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """The experiment on digits, which need no download, with a gradient that nothing cuts."""
    side = experiment.data.image_size
    plain = {"precision": "float32", "optimizer": {"clip_norm": None}}
    tree = merged(experiment.model_dump(mode="json"), plain)
    tree["data"] = {"kind": "digits", "image_size": side}
    return Experiment.model_validate(merged(tree, changes))


def small_forms() -> dict[str, list[Experiment]]:
    """What each sweep runs on a machine without a GPU."""
    alone = ("smoke", "learning")
    files = sorted(path for path in sweeps().glob("*.yaml") if path.stem not in {"paper", *alone})
    forms = {path.stem: load_sweep(path, (), "small").experiments for path in files}
    forms |= {name: load_sweep(sweeps() / f"{name}.yaml", ()).experiments for name in alone}
    return {name: list(experiments) for name, experiments in forms.items()}


def drawn(count: int, values: int) -> dict[str, Experiment]:
    """Widths from 1 to 20, with those that no vector of a CPU holds, sides and batches."""
    chance = random.Random(0)
    cases: dict[str, Experiment] = {}
    base = load_experiment(EXAMPLES / "digits.yaml", RESIDUAL)
    while len(cases) < count:
        side, batch = chance.choice([16, 24, 32, 40, 48, 64]), chance.randint(16, 64)
        vision, rank = chance.randint(1, 20), chance.randint(1, 20)
        if side**2 * batch > values:
            continue
        changes = {
            "batch_size": batch,
            "data": {"image_size": side},
            "speaker": {"patch_size": 8, "rank": {"width": rank}},
            "listener": {"vision": {"width": vision}},
            "resources": {"cpus_per_worker": chance.randint(1, 2)},
        }
        cases[f"{side} px, batch {batch}, widths {vision} {rank}"] = in_float32(base, changes)
    return cases


def spoilt(cases: Mapping[str, Experiment]) -> dict[str, dict[str, Any]]:
    """Those whose process dies, or whose gradients are not those of double."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.against_double"],
        input="\n".join(case.model_dump_json() for case in cases.values()),
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    became = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: told for name, told in zip(cases, became, strict=True) if not kept(told)}


def kept(told: Mapping[str, Any]) -> bool:
    """Whether a step came to its end, with the gradients of double."""
    return "died" not in told and (
        told["error"] < CLOSE and told["loss"] < CLOSE and told["decided"] < FEW
    )


def test_gradients_of_what_ships_are_those_of_double() -> None:
    """The example, each recipe's networks on smaller images, two small forms of each sweep."""
    cases = {"digits.yaml": in_float32(load_experiment(EXAMPLES / "digits.yaml", ()), {})}
    smaller = {"batch_size": 8, "data": {"image_size": 56}, "speaker": {"patch_size": 14}}
    for name in recipe_names():
        cases[name] = in_float32(load_recipe(name), smaller)
    for name, forms in small_forms().items():
        for which in (0, -1):
            cases[f"{name} {which}"] = in_float32(forms[which], {"batch_size": 32})
    assert spoilt(cases) == {}


def test_gradients_of_drawn_networks_are_those_of_double() -> None:
    narrow = {
        "batch_size": 16,
        "data": {"image_size": 64},
        "speaker": {"patch_size": 8, "rank": {"width": 4}},
        "listener": {"vision": {"width": 4}},
    }
    crashed = in_float32(load_experiment(EXAMPLES / "digits.yaml", ()), narrow)
    assert spoilt({"crashed in channels last": crashed} | drawn(8, FEW_VALUES)) == {}


@pytest.mark.slow
def test_gradients_of_a_narrow_resnet50_are_those_of_double() -> None:
    """Not reached yet: 1.05e-4 was seen (bn1.bias of the listener), on a CPU with AVX2."""
    changes = {
        "batch_size": 16,
        "data": {"image_size": 32},
        "listener": {"vision": {"kind": "resnet50", "width": 4}},
    }
    deep = in_float32(load_experiment(EXAMPLES / "digits.yaml", ()), changes)
    assert spoilt({"resnet50": deep}) == {}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_gradients_of_many_drawn_networks_are_those_of_double() -> None:
    """Not reached yet: 3 of 100 were off by up to 1.8e-4, those of 1 to 3 channels."""
    assert spoilt(drawn(MANY_DRAWS, MOST_VALUES)) == {}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_gradients_of_all_that_ships_are_those_of_double() -> None:
    """Not reached yet: `paper` and `official` keep their digits (2e-5), but 4e-4 of the decisions
    of their networks at 224 px lie within rounding of the threshold.
    """
    cases = {name: in_float32(load_recipe(name), {"batch_size": 16}) for name in recipe_names()}
    for name, forms in small_forms().items():
        for which, form in enumerate(forms):
            cases[f"{name} {which}"] = in_float32(form, {})
    assert spoilt(cases) == {}
