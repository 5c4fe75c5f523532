"""A checkpoint with the hash of each file, against the same files without: what hashing costs.

    python -m benchmarks.checkpoints [--quick]

The default game at 224 px after one step of its optimiser. The baseline makes the same bytes with
safetensors and torch.save and writes them to the same disk, synced, then renamed. Then what a run
pays that goes on: hashes of all files, against reading them.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from benchmarks.interleaved import medians, verdict
from pg_platform.config.experiment import Experiment
from pg_platform.methods import build
from pg_platform.training import checkpoint, newest
from pg_platform.training.hashes import _hash
from pg_platform.training.optimizer import build_optimizer


def main() -> None:
    """Print the ratio of writing last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    repeats = 5 if parser.parse_args().quick else 15
    experiment = Experiment.model_validate({"data": {"image_size": 224}})
    method = build(experiment)
    optimizer = build_optimizer(method, experiment)
    for parameter in method.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    scaler = torch.amp.GradScaler(enabled=False)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")

        def hashed() -> Path:
            state = checkpoint.Progress(epoch=1, step=1)
            return checkpoint.save(ours, experiment, method, optimizer, scaler, state)

        def whole() -> None:
            _hash.cache_clear()  # as in a new process
            assert newest.damage(checkpoint.path_of(ours, 1), newest.RESUMED) is None

        contenders = {"hashed": hashed, "plain": lambda: _plain(theirs, method, optimizer)}
        seconds = medians(contenders, repeats)
        size = sum(file.stat().st_size for file in hashed().iterdir())
        seconds |= medians({"check": whole, "read": lambda: _read(ours)}, repeats)
    print(
        f"{size / 2**20:.0f} MiB: written hashed {seconds['hashed']:.2f} s, plain "
        f"{seconds['plain']:.2f} s; checked in {seconds['check']:.2f} s, read in "
        f"{seconds['read']:.2f} s"
    )
    print(verdict("checkpoints", seconds["hashed"] / seconds["plain"], "<= 1.5"))


def _plain(folder: Path, method: Any, optimizer: torch.optim.Optimizer) -> None:
    partial, states = folder / ".partial", io.BytesIO()
    partial.mkdir(parents=True)
    torch.save(optimizer.state_dict(), states)
    (partial / "model.safetensors").write_bytes(save(method.state_dict()))
    (partial / "optimizer.pt").write_bytes(states.getbuffer())
    for file in partial.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    shutil.rmtree(folder / "step", ignore_errors=True)
    partial.rename(folder / "step")


def _read(folder: Path) -> None:
    for file in folder.rglob("*.*"):
        if file.is_file():
            file.read_bytes()


if __name__ == "__main__":
    main()
