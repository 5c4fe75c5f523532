"""Runs one evaluation of evals/ on trained runs, and writes the answer back to them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch

from pg_platform.config.custom import import_file, source_of
from pg_platform.config.errors import DataError
from pg_platform.config.experiment import Experiment
from pg_platform.config.overrides import load_moved, load_options
from pg_platform.config.paths import (
    absolute,
    evaluation_names,
    evaluations,
    is_whole,
    path_keys,
)
from pg_platform.config.section import Section
from pg_platform.data.identity import identity
from pg_platform.driver.environment import prepare
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.stored_results import kept, known, result_key, sweep_of, told_again
from pg_platform.evaluation.trained import Trained, checkpoint_of, load_trained
from pg_platform.store.runs import EVALUATED_OLDER
from pg_platform.store.store import Store

GROUPS = ("all", "paper")
"""Names that stand for several evaluations."""

Call = tuple[str, str, Path, torch.device, Mapping[str, str]]
"""The arguments of `measure`."""


@runtime_checkable
class Evaluation(Protocol):
    """What most files in evals/ have: their options, typed and strict, and a function of a run."""

    Options: type[Section]

    def evaluate(self, trained: Trained, options: Section) -> EvaluationResult: ...


@runtime_checkable
class JointEvaluation(Protocol):
    """What a file in evals/ has that compares several runs, each with its label."""

    Options: type[Section]

    def evaluate_together(
        self, several: Sequence[tuple[str, Trained]], options: Section
    ) -> EvaluationResult: ...


def find_evaluation(name: str) -> Evaluation | JointEvaluation:
    """The evaluation `name`, or the one in a file NAME.py; ValueError where there is none."""
    if is_file(name):
        return _own_evaluation(Path(name))
    names = evaluation_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"no evaluation {name}; {hint}there are: {', '.join(names)}")
    return read_evaluation(evaluations() / f"{name}.py")


def read_evaluation(file: Path) -> Evaluation | JointEvaluation:
    """The evaluation in a Python file, by its path; what the file raises is raised.

    The module is called `pg_platform.evals.NAME`, as a wheel has those that ship, and read once.
    ValueError where it has not what an evaluation has.
    """
    name = f"pg_platform.evals.{file.stem}"
    module = sys.modules.get(name)
    if module is None or module.__file__ != str(file):
        spec = spec_from_file_location(name, file)
        assert spec is not None, "a .py file has a loader"
        assert spec.loader is not None, "a .py file has a loader"
        module = module_from_spec(spec)
        sys.modules[name] = module  # where pydantic looks for the types of Options
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    if not isinstance(module, Evaluation | JointEvaluation):
        raise ValueError(
            f"{file}: wants `Options` and `evaluate(trained, options)`, as the files of evals/"
        )
    return module


def is_file(name: str) -> bool:
    """Whether an evaluation is named by a Python file and not by one of evals/."""
    return name.endswith(".py")


def _own_evaluation(file: Path) -> Evaluation | JointEvaluation:
    if file.stem in evaluation_names():
        raise ValueError(f"{file}: {file.stem} is an evaluation already; rename the file")
    module = import_file(file)
    if not isinstance(module, Evaluation | JointEvaluation):
        raise ValueError(
            f"{file}: wants `Options` and `evaluate(trained, options)`, as the files of evals/"
        )
    if not (isinstance(module.Options, type) and issubclass(module.Options, Section)):
        raise ValueError(
            f"{file}: Options wants to be a class on pg_platform.config.section.Section"
        )
    return module


def load_evaluation(name: str) -> Evaluation:
    """An evaluation of one run; ValueError where `name` is none or compares several."""
    found = find_evaluation(name)
    if isinstance(found, JointEvaluation):
        raise ValueError(f"{name} compares several runs and cannot evaluate one")
    return found


def evaluate_target(  # noqa: PLR0913 - two of them by keyword
    name: str,
    target: str,
    overrides: Sequence[str],
    root: Path,
    *,
    moved: Sequence[str] = (),
    gpu: bool,
    fresh: bool = False,
    address: str | None = None,
) -> Iterator[str]:
    """Evaluate what `target` names; gives the lines of each result as soon as it is stored.

    `target` is a run id, the folder of a checkpoint or of a trial, or the name of a sweep, which
    stands for all its finished trials. An evaluation of several runs leaves its result on the
    sweep's own run. What was computed before with equal options, from the same checkpoint, is
    not computed again unless `fresh`. Raises ValueError, CheckpointError or ConfigError.

    `name` is one of evals/, the path of a Python file like those, or several with commas between.
    It may be `all`, or `paper` for those
    with a table or figure of the paper; then one that cannot be had for a run is told with the
    reason, and the others go on.

    `moved` are KEY=PATH, where the images of the runs lie now; they must be the same images.

    With the `address` of a Ray cluster the runs are evaluated side by side there, each by a task;
    what compares several runs is computed here.
    """
    if gpu and address is None and not torch.cuda.is_available():
        raise ValueError("--gpu: torch finds no GPU here; without --gpu the CPU computes")
    device = torch.device("cuda" if gpu else "cpu")
    names = [name] if name in GROUPS else name.split(",")
    names = [absolute(each) if is_file(each) else each for each in names]
    if overrides and (name in GROUPS or len(names) > 1):
        raise ValueError(f"{name} takes no --set: each evaluation has options of its own")
    asked = [] if name in GROUPS else names
    options = {each: load_options(find_evaluation(each).Options, overrides) for each in asked}
    lie_at = load_moved(moved)
    with closing(Store.open(root)) as store:
        found = list(targets(store, target))
        if (variant := _variant(store, target, found)) is not None:
            yield f"{variant}, which ran last of the sweeps called {target}"
        work = _Work(store, found, target, lie_at, device, fresh, address, lenient=name in GROUPS)
        yield from work.warnings(work.check())
        for each in asked:
            yield from work.lines(each, options[each])
        if name not in GROUPS:
            return
        for each in _members(name):
            if wanted := _required(find_evaluation(each).Options):
                yield f"{each}: left out, it wants --set {wanted[0]}=..."
                continue
            try:
                yield from work.lines(each, find_evaluation(each).Options())
            except ValueError as error:
                yield f"{each}: not done, {_told(error)}"


@dataclass(frozen=True)
class _Work:
    """The runs that were named as `target`, and how an evaluation comes by what it finds on them.

    `targets` has (run id, label, folder of checkpoints) of each.
    """

    store: Store
    targets: Sequence[tuple[str | None, str, Path]]
    target: str
    moved: Mapping[str, str]
    device: torch.device
    fresh: bool
    address: str | None
    lenient: bool
    """Whether the others go on where one run cannot be evaluated."""

    def check(self) -> list[str | None]:
        """All can be read before one is written to, and images that may be others are theirs.

        Of each run, what is to be told where its newest checkpoint is damaged. Raises
        CheckpointError or ValueError.
        """
        older = []
        for run_id, label, folder in self.targets:
            trained = load_trained(folder, torch.device("cpu"), self.moved)
            older.append(trained.older)
            if run_id is not None and (self.moved or _relative(trained.experiment)):
                check_images(self.store, run_id, label, trained)
        return older

    def warnings(self, older: Sequence[str | None]) -> Iterator[str]:
        """What is told of each run whose newest checkpoint is damaged, once it stands with it."""
        for (run_id, label, _), told in zip(self.targets, older, strict=True):
            if told is not None:
                if run_id is not None:
                    self.store.tag(run_id, {EVALUATED_OLDER: told})
                yield f"warning: {label}: {told}"

    def lines(self, name: str, options: Section) -> Iterator[str]:
        """One line a result."""
        evaluation, file = find_evaluation(name), name
        source = source_of(Path(file)) if is_file(file) else None
        name = Path(file).stem if is_file(file) else name
        if isinstance(evaluation, JointEvaluation):
            yield self._together(evaluation, name, options, source)
            return
        keys = [
            result_key(name, options, [checkpoint_of(folder)], source)
            for _, _, folder in self.targets
        ]
        left: list[tuple[str | None, str, Path, str]] = []
        for (run_id, label, folder), key in zip(self.targets, keys, strict=True):
            found = self._known(run_id, name, key, options)
            if found is None:
                left.append((run_id, label, folder, key))
            else:
                yield told_again(name, label, found)
        given = options.model_dump_json()
        calls = [(file, given, folder, self.device, self.moved) for _, _, folder, _ in left]
        for (run_id, label, _, key), measured in zip(left, self._measured(calls), strict=True):
            if isinstance(measured, EvaluationResult):
                yield kept(self.store, run_id, name, label, measured, key)
            elif self.lenient:
                yield f"{label}  {name}: not done, {_told(measured)}"
            else:
                raise measured

    def _together(
        self, evaluation: JointEvaluation, name: str, options: Section, source: str | None
    ) -> str:
        """The line of an evaluation of several runs, whose result belongs to their sweep."""
        sweep = sweep_of(self.store, [run_id for run_id, _, _ in self.targets])
        checkpoints = [checkpoint_of(folder) for _, _, folder in self.targets]
        key = result_key(name, options, checkpoints, source)
        found = self._known(sweep, name, key, options)
        if found is not None:
            return told_again(name, self.target, found)
        several = [
            (label, load_trained(folder, self.device, self.moved))
            for _, label, folder in self.targets
        ]
        measured = evaluation.evaluate_together(several, options)
        for label, trained in several:
            measured = _cautioned(measured, trained, label)
        return kept(self.store, sweep, name, self.target, measured, key)

    def _known(self, run_id: str | None, name: str, key: str, options: Section) -> str | None:
        """What a run holds under `key`; None also where it is to be computed again."""
        writes_elsewhere = "to" in options.model_dump(exclude_none=True)
        if run_id is None or self.fresh or writes_elsewhere:
            return None
        return known(self.store, run_id, name, key)

    def _measured(self, calls: Sequence[Call]) -> Iterator[EvaluationResult | ValueError]:
        if self.address is None or not calls:
            return (measure(*call) for call in calls)
        prepare(self.address)
        from pg_platform.cluster.ray_cluster import on_cluster

        gpu = self.device.type == "cuda"
        return on_cluster(measure, calls, gpu=gpu)


def check_images(store: Store, run_id: str, label: str, trained: Trained) -> None:
    """ValueError where the images of a run, as they lie now, are not those of its training."""
    found = identity(trained.experiment.data)
    theirs = store.look(run_id).tags.get("pg.data", found)
    if found != theirs:
        raise ValueError(
            f"{label} was trained on {theirs}, and the images at "
            f"{getattr(trained.experiment.data, 'path', found)} are {found}; give the "
            "folder of its own with --data path=FOLDER"
        )


def evaluate_run(  # noqa: PLR0913 - whose it is, and what is asked
    store: Store,
    run_id: str | None,
    label: str,
    trained: Trained,
    name: str,
    overrides: Sequence[str],
) -> EvaluationResult:
    """What an evaluation finds on a loaded run; kept with it where the store has it.

    Raises what `evaluate_target` does.
    """
    evaluation = load_evaluation(name)
    options = load_options(evaluation.Options, overrides)
    measured = _cautioned(evaluation.evaluate(trained, options), trained)
    kept(store, run_id, name, label, measured, result_key(name, options, [trained.path]))
    return measured


def measure(
    name: str,
    options: str,
    folder: Path,
    device: torch.device,
    moved: Mapping[str, str] = MappingProxyType({}),
) -> EvaluationResult | ValueError:
    """What an evaluation finds on the run whose checkpoints lie in `folder`, or why it cannot.

    Its `options` are given as JSON: another process may not know the class of a file's.
    """
    trained = load_trained(folder, device, moved)
    evaluation = load_evaluation(name)
    try:
        measured = evaluation.evaluate(trained, evaluation.Options.model_validate_json(options))
    except ValueError as error:
        return error
    return _cautioned(measured, trained)


def _cautioned(measured: EvaluationResult, trained: Trained, label: str = "") -> EvaluationResult:
    """The same, whose words say where a newer checkpoint of the run was damaged."""
    if trained.older is None:
        return measured
    caution = f"{label}: {trained.older}" if label else trained.older
    return replace(measured, words="\n".join(filter(None, (measured.words, caution))))


def data_option(key: str, value: str) -> str:
    """How pg-eval says where the images of a run lie; nothing else of a run can be changed."""
    if key not in path_keys(Experiment):
        return "--data path=FOLDER"
    return f"--data {key.removeprefix('data.')}={value}"


def _told(error: ValueError) -> str:
    return error.told(data_option) if isinstance(error, DataError) else str(error)


def _relative(experiment: Experiment) -> bool:
    """Whether a path of the experiment is kept as it was written, as early runs have it."""
    keys = (key.removeprefix("data.") for key in path_keys(Experiment))
    paths = (getattr(experiment.data, key, None) for key in keys)
    return any(path is not None and not is_whole(path) for path in paths)


def _members(group: str) -> list[str]:
    """The evaluations of a group: all, or those of the paper."""
    names = evaluation_names()
    if group == "all":
        return names
    opening = {n: (find_evaluation(n).__doc__ or "").partition("\n")[0] for n in names}
    return [n for n in names if any(part in opening[n] for part in ("Table", "Fig"))]


def _required(options: type[Section]) -> list[str]:
    return [name for name, field in options.model_fields.items() if field.is_required()]


def _variant(
    store: Store, target: str, found: Sequence[tuple[str | None, str, Path]]
) -> str | None:
    """The sweep that is meant by the name that it shares with others; None where it is clear."""
    if target not in {run.tags.get("pg.family") for run in store.sweeps()} or not found[0][0]:
        return None
    name = store.look(found[0][0]).tags["pg.sweep"]
    return name if len(store.sweeps_named(target)) > 1 or name != target else None


def targets(store: Store, target: str) -> Iterator[tuple[str | None, str, Path]]:
    """(run id, label, folder of checkpoints) of all that `target` names."""
    if Path(target).is_dir():
        folder = Path(target).resolve()
        run = store.find_by_checkpoints([str(folder), str(folder.parent)])
        yield (run.run_id if run else None), target, folder
        return
    runs = store.finished_trials(target)
    if not runs:
        raise ValueError(
            f"{target} is no run id, no folder and no sweep with finished trials in {store.uri}"
        )
    for run in runs:
        yield run.run_id, run.name, store.checkpoints(run)
