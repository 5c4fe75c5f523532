"""Checkpoints: written whole or not at all, and complete enough to continue bit for bit.

A run's folder holds `step-000000120/` with

    experiment.json     the experiment itself, so that no reader is told the model again
    model.safetensors   weights and buffers
    optimizer.pt        the states of optimiser and fp16 scaler (read with weights_only)
    progress.json       position in the data, the epoch's running sums, all rows so far
    manifest.json       the sha256 of each of them, see hashes.py

Random numbers need no file: every draw is a function of (seed, step), see config/seeds.py.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from pg_platform.config.experiment import Experiment
from pg_platform.training import hashes
from pg_platform.training.history import Row


def misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """The first tensor that has another shape, is missing or is one too many; how many more.

    None where all fit.
    """
    own = network.state_dict()
    wrong = [
        f"{name} is {tuple(state[name].shape)} and not {tuple(wanted.shape)}"
        for name, wanted in own.items()
        if name in state and state[name].shape != wanted.shape
    ]
    wrong += [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{_shown(name)} is one too many" for name in state if name not in own]
    if not wrong:
        return None
    others = f", and {len(wrong) - 1} tensors more do not fit" if len(wrong) > 1 else ""
    return f"{wrong[0]}{others}"


def _shown(name: object) -> str:
    """A name out of a file that anybody may have written, without what a terminal would obey."""
    return str(name).encode("unicode_escape").decode()


KEPT = 2
"""Checkpoints that stay: the newest, and one before it for the day when that is damaged."""


@dataclass
class Progress:
    """How far a run is: finished epochs, steps taken, sums of the epoch under way, its rows."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


REMEDY = "take another checkpoint of this run, or train it anew"


UNREADABLE = (
    UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What torch.load raises of a file that is not its own, or was, by where it is damaged."""


_SET_ASIDE = "damaged-"


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
    """Write a checkpoint under `folder` and drop all but the newest `KEPT`.

    Those that were set aside go too, once the run has come as far as they were.
    """
    final = path_of(folder, progress.step)
    partial = folder / f".partial-{progress.step:09d}"
    shutil.rmtree(partial, ignore_errors=True)
    weights = {name: t.detach().cpu().contiguous() for name, t in method.state_dict().items()}
    states = {"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()}
    try:
        partial.mkdir(parents=True)
        written = hashes.Written(partial)
        written.put("experiment.json", experiment.model_dump_json(indent=2).encode())
        written.put("model.safetensors", to_bytes(weights))
        written.put("optimizer.pt", _pickled(states))
        written.put("progress.json", json.dumps({"hashed": True, **asdict(progress)}).encode())
        written.close()
        for path in partial.iterdir():
            _sync(path)
    except OSError:  # a full disk: the checkpoint before this one stands, the torn one gives room
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _replace(partial, final)
    _sync(folder)
    for old in steps(folder)[:-KEPT]:
        shutil.rmtree(old)
    for damaged in folder.glob(f"{_SET_ASIDE}step-*"):
        if (_number(damaged) or 0) <= progress.step:
            shutil.rmtree(damaged)
    return final


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint after so many steps lies."""
    return folder / f"step-{step:09d}"


def step_of(path: Path) -> int:
    """After how many steps the checkpoint at `path` was written, by its name."""
    step = _number(path)
    assert step is not None, f"{path} is no checkpoint"
    return step


def steps(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, whole or not, the newest last."""
    found = [path for path in folder.glob("step-*") if _number(path) is not None and path.is_dir()]
    return sorted(found, key=step_of)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint under `folder`, whole or not; None where there is none."""
    return next(reversed(steps(folder)), None)


def set_aside(path: Path) -> None:
    """Have a damaged checkpoint count no more; it stays until the run is as far again."""
    away = path.with_name(f"{_SET_ASIDE}{path.name}")
    shutil.rmtree(away, ignore_errors=True)
    path.rename(away)


def restore(
    path: Path,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Progress:
    """Put weights and the states of optimiser and scaler back and return the progress."""
    put_weights(path, method)
    states = load_states(path)
    optimizer.load_state_dict(states["optimizer"])
    scaler.load_state_dict(states["scaler"])
    return load_progress(path)


def load_progress(path: Path) -> Progress:
    """The progress of the checkpoint at `path`."""
    try:
        stored = {"hashed": False} | json.loads(_read(path, "progress.json"))
        del stored["hashed"]
        return Progress(**stored | {"rows": [Row(**row) for row in stored["rows"]]})
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path / 'progress.json'}: damaged ({error}); {REMEDY}") from error


def load_experiment(path: Path) -> Experiment:
    """The experiment that the checkpoint at `path` belongs to."""
    text = _read(path, "experiment.json")
    try:
        return Experiment.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        told = f"{where}: {first['msg']}" if where else first["msg"]
        remedy = "put its file there" if first["loc"][-1:] == ("target",) else REMEDY
        raise CheckpointError(f"{path / 'experiment.json'}: {told}; {remedy}") from error


def put_weights(path: Path, method: nn.Module) -> None:
    """Load the weights of the checkpoint at `path` into the method of its experiment."""
    weights = load_weights(path)
    if (why := misfit(method, weights)) is not None:
        raise CheckpointError(
            f"{path / 'model.safetensors'}: not the weights of the experiment beside it: {why}; "
            f"{REMEDY}"
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
        raise CheckpointError(f"{file}: damaged ({error}); {REMEDY}") from error
    return weights


def load_states(path: Path) -> dict[str, Any]:
    """The states of optimiser and scaler of the checkpoint at `path`, as they were."""
    file = path / "optimizer.pt"
    if not file.is_file():
        raise CheckpointError(f"{path}: no checkpoint here (no {file.name})")
    try:
        states: dict[str, Any] = torch.load(file, weights_only=True)
    except UNREADABLE as error:
        said = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{file}: damaged ({said}); {REMEDY}") from error
    if not isinstance(states, dict) or not {"optimizer", "scaler"} <= states.keys():
        raise CheckpointError(f"{file}: damaged (not what a checkpoint holds); {REMEDY}")
    return states


def _replace(partial: Path, final: Path) -> None:
    """Put a checkpoint in its place, where one may lie already, and never a part of one."""
    if not final.is_dir():
        os.replace(partial, final)
        return
    before = partial.with_name(f".replaced-{final.name}")
    shutil.rmtree(before, ignore_errors=True)
    os.replace(final, before)  # a stop or `every_steps` fell on the last step of this epoch
    os.replace(partial, final)
    shutil.rmtree(before)


def _number(path: Path) -> int | None:
    """The steps in the name of a checkpoint, set aside or not; None where it is another name."""
    found = re.fullmatch(rf"(?:{_SET_ASIDE})?step-([0-9]{{9,}})", path.name)
    return None if found is None else int(found[1])


def _pickled(states: Mapping[str, Any]) -> memoryview:
    """As torch.save has it; onto a file itself, it names no reason where that cannot be written."""
    buffer = io.BytesIO()
    torch.save(states, buffer)
    return buffer.getbuffer()


def _read(path: Path, name: str) -> str:
    file = path / name
    if not file.is_file():
        raise CheckpointError(f"{path}: no checkpoint here (no {name})")
    return file.read_text(encoding="utf-8", errors="replace")


def _sync(path: Path) -> None:
    """Have the disk hold `path` before something that stands on it is renamed."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
