"""A small experiment that trains in a second or two, shared by the tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pg_platform.config.experiment import Experiment
from pg_platform.config.overrides import load_recipe

SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 64,
    "precision": "float32",
    "data": {"kind": "shapes", "image_size": 16, "count": 400, "val_fraction": 0.3},
    "speaker": {
        "patch_size": 8,
        "vocab_size": 8,
        "symbol": {"hidden": 16},
        "rank": {"width": 4},
    },
    "listener": {
        "text": {"width": 16, "depth": 1, "heads": 2},
        "vision": {"width": 4},
        "head": {"hidden": 16, "out": 8},
    },
    "optimizer": {"lr": 4e-3},
    "validation": {"pool_size": 64},
}


SIZES = {
    **{"width": 16, "depth": 1, "heads": 2, "hidden": 16, "out": 8, "wide": 64},
    **{"patch_size": 8, "vocab_size": 8, "epochs": 2, "batch_size": 64, "pool_size": 64},
}


def small_recipe(name: str) -> Experiment:
    """A recipe with all that it decides, on small pictures and with small networks, in float32."""
    shrunk = _shrunk(load_recipe(name).model_dump())
    return Experiment.model_validate(
        {**shrunk, "data": SMALL["data"], "precision": "float32", "checkpoints": {"every_steps": 2}}
    )


def _shrunk(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _shrunk(value)
        if isinstance(value, dict)
        else SIZES[key]
        if key in SIZES and value is not None
        else value
        for key, value in tree.items()
    }


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the sections and values of `changes` put in."""
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) else value
    return result


def without_nulls(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`tree` without the keys that a change set to None, to take them away."""
    return {
        key: without_nulls(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }


def write_experiment(folder: Path, changes: Mapping[str, Any]) -> Path:
    """An experiment file in `folder`."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(merged({"recipe": "photos", **SMALL}, changes)))
    return path


def write_sweep(folder: Path, changes: Mapping[str, Any]) -> Path:
    """A sweep of two vocabularies and two seeds in `folder`."""
    sweep = {
        "name": "small",
        "recipe": "photos",
        "method": "grid",
        "experiment": SMALL,
        "parameters": {"speaker.vocab_size": {"values": [2, 8]}},
        "seeds": 2,
    }
    path = folder / "small_sweep.yaml"
    path.write_text(yaml.safe_dump(merged(sweep, changes)))
    return path


def environment(home: Path, uri: str | None = None) -> dict[str, str]:
    """What a command under test sees: its own store, or the one at `uri`, and one thread."""
    inherited = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    named = {} if uri is None else {"MLFLOW_TRACKING_URI": uri}
    return inherited | named | {"PG_HOME": str(home), "OMP_NUM_THREADS": "1"}
