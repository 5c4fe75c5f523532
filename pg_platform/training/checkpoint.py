"""Checkpoints: written whole or not at all, and complete enough to continue bit for bit.

A run's folder holds `step-000000120/` with

    experiment.json     the experiment itself, so that no reader is told the model again
    model.safetensors   weights and buffers
    optimizer.pt        the states of optimiser and fp16 scaler (read with weights_only)
    progress.json       position in the data, the epoch's running sums, all rows so far

Random numbers need no file: every draw is a function of (seed, step), see config/seeds.py.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from pg_platform.config.experiment import Experiment
from pg_platform.training.misfit import misfit
from pg_platform.training.rows import Row

KEPT = 2
"""Checkpoints that stay: the newest, and one before it."""


@dataclass
class Progress:
    """How far a run is: finished epochs, steps taken, sums of the epoch under way, its rows."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


_REMEDY = "take another checkpoint of this run, or train it anew"


class CheckpointError(ValueError):
    """A checkpoint that is missing or cannot be read, with its path and the remedy."""


def save(  # noqa: PLR0913 - all that a checkpoint holds
    folder: Path,
    experiment: Experiment,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
) -> Path:
    """Write a checkpoint under `folder` and drop all but the newest `KEPT`."""
    final = folder / f"step-{progress.step:09d}"
    partial = folder / f".partial-{progress.step:09d}"
    shutil.rmtree(partial, ignore_errors=True)
    weights = {name: t.detach().cpu().contiguous() for name, t in method.state_dict().items()}
    states = {"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()}
    try:
        partial.mkdir(parents=True)
        (partial / "experiment.json").write_text(experiment.model_dump_json(indent=2))
        (partial / "progress.json").write_text(json.dumps(asdict(progress)))
        (partial / "model.safetensors").write_bytes(to_bytes(weights))
        (partial / "optimizer.pt").write_bytes(_pickled(states))
        for path in partial.iterdir():
            _sync(path)
    except OSError:  # a full disk: the checkpoint before this one stands, the torn one gives room
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if final.is_dir():  # a stop or `every_steps` fell on the last step of this epoch
        shutil.rmtree(final)
    os.replace(partial, final)
    _sync(folder)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)
    return final


def latest(folder: Path) -> Path | None:
    """The newest checkpoint under `folder`, None where there is none."""
    return max(folder.glob("step-*"), default=None)


def restore(
    path: Path,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Progress:
    """Put weights and the states of optimiser and scaler back and return the progress."""
    put_weights(path, method)
    states = torch.load(path / "optimizer.pt", weights_only=True)
    optimizer.load_state_dict(states["optimizer"])
    scaler.load_state_dict(states["scaler"])
    return load_progress(path)


def load_progress(path: Path) -> Progress:
    """The progress of the checkpoint at `path`."""
    stored = json.loads(_read(path, "progress.json"))
    return Progress(**stored | {"rows": [Row(**row) for row in stored["rows"]]})


def load_experiment(path: Path) -> Experiment:
    """The experiment that the checkpoint at `path` belongs to."""
    text = _read(path, "experiment.json")
    try:
        return Experiment.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        told = f"{where}: {first['msg']}" if where else first["msg"]
        raise CheckpointError(f"{path / 'experiment.json'}: {told}; {_REMEDY}") from error


def put_weights(path: Path, method: nn.Module) -> None:
    """Load the weights of the checkpoint at `path` into the method of its experiment."""
    weights = load_weights(path)
    if (why := misfit(method, weights)) is not None:
        raise CheckpointError(
            f"{path / 'model.safetensors'}: not the weights of the experiment beside it: {why}; "
            f"{_REMEDY}"
        )
    method.load_state_dict(weights)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of the checkpoint at `path`, on the CPU."""
    file = path / "model.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{path}: no checkpoint here (no {file.name})")
    try:
        weights: dict[str, torch.Tensor] = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: damaged ({error}); {_REMEDY}") from error
    return weights


def _pickled(states: Mapping[str, Any]) -> memoryview:
    """As torch.save has it; onto a file itself, it names no reason where that cannot be written."""
    buffer = io.BytesIO()
    torch.save(states, buffer)
    return buffer.getbuffer()


def _read(path: Path, name: str) -> str:
    file = path / name
    if not file.is_file():
        raise CheckpointError(f"{path}: no checkpoint here (no {name})")
    return file.read_text()


def _sync(path: Path) -> None:
    """Have the disk hold `path` before something that stands on it is renamed."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
