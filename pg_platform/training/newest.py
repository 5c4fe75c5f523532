"""Which checkpoint of a run is taken: the newest that is whole, and what is told of newer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pg_platform.training.checkpoint import (
    REMEDY,
    CheckpointError,
    load_experiment,
    load_progress,
    load_states,
    load_weights,
    path_of,
    set_aside,
    step_of,
    steps,
)
from pg_platform.training.hashes import MANIFEST, hash_of, read_hashes
from pg_platform.training.worker import Worker

Read = Callable[[Path], object]

EVALUATED: dict[str, Read] = {
    "experiment.json": load_experiment,
    "model.safetensors": load_weights,
}
"""The files that an evaluation reads, and how each is read."""

RESUMED = EVALUATED | {"optimizer.pt": load_states, "progress.json": load_progress}
"""Those that a run reads that goes on."""

_ANEW = (
    "move that folder away, and the same command trains from the beginning (a sweep: with "
    "--retry-failed)"
)

_NONE, _DAMAGED = -1, -2


@dataclass(frozen=True)
class Choice:
    """The checkpoint that is taken, None where there is none; newer ones, and what ails them."""

    path: Path | None
    damaged: Sequence[tuple[Path, str]] = ()

    @property
    def told(self) -> str | None:
        """A sentence for whoever relies on it; None where it is the newest."""
        if not self.damaged or self.path is None:
            return None
        newer = "; ".join(f"{path.name}: {why}" for path, why in self.damaged)
        return (
            f"the newest checkpoint is damaged, and an older one is taken: {self.path.name} "
            f"instead of {newer} (in {self.path.parent})"
        )


def newest_whole(folder: Path, files: dict[str, Read], remedy: str) -> Choice:
    """The newest checkpoint under `folder` whose `files` are whole.

    CheckpointError with the remedy where there are some and none is whole.
    """
    damaged: list[tuple[Path, str]] = []
    for path in reversed(steps(folder)):
        why = damage(path, files)
        if why is None:
            return Choice(path, damaged)
        damaged.append((path, why))
    if damaged:
        told = "; ".join(f"{path.name}/{why}" for path, why in damaged)
        raise CheckpointError(f"{folder}: no checkpoint here is whole: {told}; {remedy}")
    return Choice(None)


def damage(path: Path, files: dict[str, Read]) -> str | None:
    """What ails the first of `files` of a checkpoint that is not as it was written; None: all are.

    Those of a checkpoint without hashes, as older versions wrote them, are read instead.
    """
    try:
        hashes = read_hashes(path)
    except ValueError as error:
        return str(error)
    for name, read in files.items():
        if not (path / name).is_file():
            return f"{name}: gone"
        if hashes is not None:
            if hash_of(path / name) != hashes.get(name):
                return f"{name}: damaged, it has another hash than {MANIFEST} says"
            continue
        try:
            read(path)
        except CheckpointError as error:
            return str(error).removeprefix(f"{path}/").removesuffix(f"; {REMEDY}")
    return None


def agreed(folder: Path, place: Worker) -> Choice:
    """What rank 0 finds to go on from in `folder`, on every worker; damaged ones are set aside.

    CheckpointError on every worker where there are checkpoints and none is whole.
    """
    choice, problem = Choice(None), None
    if place.rank == 0:
        try:
            choice = newest_whole(folder, RESUMED, _ANEW)
        except (CheckpointError, OSError) as error:
            problem = error  # the others wait for an answer
    code = _DAMAGED if problem else _NONE if choice.path is None else step_of(choice.path)
    code, newer = place.of_first([code, len(choice.damaged)])
    if problem is not None:
        raise problem
    if code == _DAMAGED:
        raise CheckpointError(f"{folder}: rank 0 found no checkpoint that is whole; {_ANEW}")
    if place.rank > 0 and code != _NONE:
        path = path_of(folder, code)
        return Choice(path, [(path, "as rank 0 says")] * newer)
    for path, _ in choice.damaged:
        set_aside(path)
    return choice
