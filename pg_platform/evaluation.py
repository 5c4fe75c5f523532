"""Runs one evaluation of evals/ on trained runs, and writes the answer back to them."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from evals import evaluation_names
from pg_platform.config.document import Section
from pg_platform.config.options import load_options
from pg_platform.results.figures import drawn
from pg_platform.results.measured import Measured
from pg_platform.results.tracking import Store
from pg_platform.results.trained import Trained, load_trained


@runtime_checkable
class Evaluation(Protocol):
    """What most files in evals/ have: their options, typed and strict, and a function of a run."""

    Options: type[Section]

    def evaluate(self, trained: Trained, options: Section) -> Measured: ...


@runtime_checkable
class JointEvaluation(Protocol):
    """What a file in evals/ has that compares several runs, each with its label."""

    Options: type[Section]

    def evaluate_together(
        self, several: Sequence[tuple[str, Trained]], options: Section
    ) -> Measured: ...


def find_evaluation(name: str) -> Evaluation | JointEvaluation:
    """The evaluation `name`; ValueError with the list where there is none."""
    names = evaluation_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"no evaluation {name}; {hint}there are: {', '.join(names)}")
    module: Evaluation | JointEvaluation = importlib.import_module(f"evals.{name}")
    return module


def load_evaluation(name: str) -> Evaluation:
    """An evaluation of one run; ValueError where `name` is none or compares several."""
    found = find_evaluation(name)
    if isinstance(found, JointEvaluation):
        raise ValueError(f"{name} compares several runs and cannot evaluate one")
    return found


def evaluate_target(
    name: str, target: str, overrides: Sequence[str], root: Path, *, gpu: bool
) -> Iterator[str]:
    """Evaluate what `target` names; gives one line for each result as soon as it is stored.

    `target` is a run id, the folder of a checkpoint or of a trial, or the name of a sweep, which
    stands for all its finished trials. An evaluation of several runs leaves its result on the
    sweep's own run. Raises ValueError, CheckpointError or ConfigError.
    """
    evaluation = find_evaluation(name)
    options = load_options(evaluation.Options, overrides)
    device = torch.device("cuda" if gpu else "cpu")
    with closing(Store.open(root)) as store:
        targets = list(_targets(store, target))
        if isinstance(evaluation, JointEvaluation):
            several = [(label, load_trained(folder, device)) for _, label, folder in targets]
            measured = evaluation.evaluate_together(several, options)
            sweep = _sweep_of(store, [run_id for run_id, _, _ in targets])
            yield _kept(store, sweep, name, target, measured)
            return
        for run_id, label, folder in targets:
            measured = evaluation.evaluate(load_trained(folder, device), options)
            yield _kept(store, run_id, name, label, measured)


def _sweep_of(store: Store, run_ids: Sequence[str | None]) -> str | None:
    """The run of the sweep that all these trials belong to; None where there is no such one."""
    members = set(run_ids)
    for sweep in store.sweeps():
        if members <= {trial.run_id for trial in store.trials(sweep.run_id)}:
            return sweep.run_id
    return None


def _kept(store: Store, run_id: str | None, name: str, label: str, measured: Measured) -> str:
    """The line that is shown of a result, once it is stored."""
    if run_id is not None:
        _keep(store, run_id, name, measured)
    shown = "  ".join(f"{key} {value:.4f}" for key, value in measured.metrics.items())
    where = "" if run_id else "  (this store has no run for it: not stored)"
    return f"{label}  {shown}{where}"


def _keep(store: Store, run_id: str, name: str, measured: Measured) -> None:
    """Everything found goes to the run: files below the folder named as the evaluation."""
    store.put_evaluation(run_id, measured.metrics)
    for path, table in measured.tables.items():
        store.put_table(run_id, f"{name}/{path}", table)
    for path, figure in measured.figures.items():
        for suffix, content in drawn(figure).items():
            store.put_bytes(run_id, f"{name}/{path}.{suffix}", content)
    for path, content in measured.files.items():
        store.put_bytes(run_id, f"{name}/{path}", content)
    if measured.words:
        store.put_text(run_id, f"{name}/words.md", measured.words + "\n")


def _targets(store: Store, target: str) -> Iterator[tuple[str | None, str, Path]]:
    """(run id, label, folder of checkpoints) of all that `target` names."""
    if Path(target).is_dir():
        folder = Path(target).absolute()
        run = store.find_by_checkpoints([str(folder), str(folder.parent)])
        yield (run.run_id if run else None), target, folder
        return
    runs = store.finished_trials(target)
    if not runs:
        raise ValueError(
            f"{target} is no run id, no folder and no sweep with finished trials in {store.uri}"
        )
    for run in runs:
        yield run.run_id, run.name, Path(run.tags["pg.checkpoints"])
