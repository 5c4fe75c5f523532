"""Recipes by name, and what tells two of them apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pg_platform.config.document import ConfigError, Document
from pg_platform.config.experiment import Experiment
from pg_platform.config.places import RECIPES, recipe_names
from pg_platform.config.problems import one_of

Difference = tuple[str, str, str]
"""A dotted key and its two values, in JSON."""

ABSENT = "-"
"""The value where a recipe has no such key."""


def load_recipe(name: str) -> Experiment:
    """The experiment that a recipe is; ConfigError where there is none of that name."""
    if name not in (names := recipe_names()):
        raise ConfigError([f"recipe: {one_of(name, names)}, got {name!r}"])
    return Document.read(RECIPES / f"{name}.yaml").parse(Experiment)


def differences(one: Experiment, other: Experiment) -> list[Difference]:
    """The keys whose values differ, in the order in which an experiment has its keys."""
    ours, theirs = _flat(one.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
    pairs = [(key, ours.get(key, ABSENT), theirs.get(key, ABSENT)) for key in {**ours, **theirs}]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        match value:
            case dict():
                leaves |= _flat(value, f"{prefix}{key}.")
            case _:
                leaves[prefix + key] = json.dumps(value)
    return leaves
