"""The trials of a sweep: every point with every seed, each with an id of what decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pg_platform.config.errors import ConfigError
from pg_platform.config.experiment import Data, Experiment, Game
from pg_platform.sweep.grid import Point

if TYPE_CHECKING:  # a sweep's name is made with the labels below
    from pg_platform.sweep.load import Sweep
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

RESULT_VERSION = 2
"""Raised with every change of the code that changes a trial's result. Finished trials of another
version are not taken for results of this one."""


SHORT = {
    "speaker.vocab_size": "V",
    "speaker.symbols_per_patch": "l",
    "speaker.patch_size": "S",
    "batch_size": "B",
    "optimizer.lr": "lr",
}
"""The paper's letters for the keys that it varies."""


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    id: str
    """12 hex digits of a hash of all that decides the result, and of nothing else."""
    name: str
    """`V=64 l=2 seed=0`"""
    group: str
    """The name without the seed: trials of one group are replicates."""
    point: dict[str, Any]
    seed: int
    experiment: Experiment
    data_hash: str
    """What decides the pixels and labels, whatever folder they lie in."""
    choice: dict[str, Any] = field(default_factory=dict)
    """What a search chose for the point, a value for each of its dimensions."""


def plan(sweep: Sweep, identity: Callable[[Data], str]) -> tuple[Trial, ...]:
    """All trials of a sweep, the points in order and each with its seeds in order.

    `identity` is asked once for each data section that differs. Raises ConfigError where two
    points are the same run, such as two folders with equal images.
    """
    identities = {data: identity(data) for data in dict.fromkeys(e.data for e in sweep.experiments)}
    labels, trials = short_labels(sweep.parameters), dict[str, Trial]()
    for values, shared in zip(sweep.points, sweep.experiments, strict=True):
        group = _group(values, labels)
        for trial in _seeds(group, values, shared, sweep.seeds, identities[shared.data]):
            twin = trials.setdefault(trial.id, trial)
            if twin is not trial:
                raise ConfigError([f"{trial.name} and {twin.name} are one run; leave one out"])
    return tuple(trials.values())


def trials_of_point(
    sweep: Sweep, point: Point, identity: Callable[[Data], str], choice: Mapping[str, Any]
) -> list[Trial]:
    """The trials of a point that a search chose while the sweep runs."""
    group = _group(point.values, short_labels(sweep.parameters))
    data_hash = identity(point.experiment.data)
    found = _seeds(group, point.values, point.experiment, sweep.seeds, data_hash)
    return [replace(trial, choice=dict(choice)) for trial in found]


def _group(values: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """The name of a point: `V=64 l=2`; empty where nothing varies."""
    return " ".join(f"{labels[key]}={compact(value)}" for key, value in values.items())


def _seeds(
    group: str,
    values: Mapping[str, Any],
    shared: Experiment,
    seeds: Sequence[int],
    data_hash: str,
) -> Iterator[Trial]:
    """The trials of a point."""
    for seed in seeds:
        experiment = shared.model_copy(update={"seed": seed})
        yield Trial(
            id=trial_id(experiment, data_hash),
            name=f"{group} seed={seed}".lstrip(),
            group=group or "base",
            point=dict(values),
            seed=seed,
            experiment=experiment,
            data_hash=data_hash,
        )


def single(experiment: Experiment, name: str, identity: Callable[[Data], str]) -> Trial:
    """The trial of a run that belongs to no sweep, called `name`."""
    data_hash = identity(experiment.data)
    return Trial(
        id=trial_id(experiment, data_hash),
        name=name,
        group=name,
        point={},
        seed=experiment.seed,
        experiment=experiment,
        data_hash=data_hash,
    )


def trial_id(experiment: Experiment, data_hash: str) -> str:
    """12 hex digits: equal for runs with equal results, wherever they and their data live."""
    deciding = {
        "experiment": experiment.deciding(),
        "data": data_hash,
        "version": RESULT_VERSION,
    }
    text = json.dumps(deciding, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def short_labels(keys: Iterable[str]) -> dict[str, str]:
    """Each dotted key with the paper's letter, else as many last parts as tell it apart."""
    long = [key for key in keys if key not in SHORT]
    labels = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        taken = ("seed", *SHORT.values())
        labels[key] = SHORT.get(key) or next(
            ending
            for ending in endings
            if ending not in taken and sum(f".{k}".endswith(f".{ending}") for k in long) == 1
        )
    return labels


def compact(value: Any) -> str:
    """A value in the name of a trial: `64`, `0.0005`, `1e-05`, `null`, `[0.5,1]`."""
    match value:
        case None | bool():
            return json.dumps(value)
        case float():
            return repr(value).removesuffix(".0")
        case tuple():
            return f"[{','.join(compact(item) for item in value)}]"
        case dict():
            return f"{{{','.join(f'{key}:{compact(item)}' for key, item in value.items())}}}"
    return str(value)


def trial_folder(root: Path, trial: Trial) -> Path:
    """Where the checkpoints of `trial` lie: by its id, whatever file asks for it."""
    return _folder(root, trial.id)


def _folder(root: Path, trial_id: str) -> Path:
    return root / "trials" / trial_id


_WITHOUT_EFFECT: dict[str, Any] = {
    "seed": True,
    "epochs": True,
    "worker_noise": True,
    "resources": {"device"},  # a pace says of which device it is
    "method": {"folder"},
    "data": {"val_fraction", "count", "seed", "folder"},
    "speaker": {
        "temperature": True,
        "symbol": {"initial_logit_std", "folder"},
        "rank": {"folder"},
        "gate": {"temperature", "clamp", "law", "folder"},
        "soft_rank": {"strength"},
    },
    "listener": {"vision": {"folder"}, "head": {"wide_frozen_epochs"}},
    "contrast": {"temperature", "min_temperature", "reduction"},
}


def shape(experiment: Experiment) -> str:
    """12 hex digits of all that decides how fast a trial is, and of nothing else.

    Numbers of the optimiser and of temperatures, seeds and the number of epochs are not in it.
    """
    parts = {name: getattr(experiment, name) for name in Experiment.model_fields}
    del parts["seed"], parts["epochs"], parts["optimizer"]
    if isinstance(experiment.method, Game):
        del parts["method"]  # it was the only one when the first shapes were measured
    return _hashed(experiment.optimizer.kind, *parts.items())


@lru_cache(maxsize=4096)
def _hashed(optimizer: str, *parts: tuple[str, Any]) -> str:
    deciding: dict[str, Any] = {"optimizer": optimizer}
    for name, part in parts:
        without = _WITHOUT_EFFECT.get(name)
        if isinstance(part, BaseModel):
            deciding[name] = part.model_dump(mode="json", exclude=without)
        elif without is None:
            deciding[name] = part
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]
