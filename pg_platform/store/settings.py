"""Whether the runs of a sweep were made with the settings that are asked for now.

A sweep's points share an experiment and its data. Where these are others than those of the runs
that the store has under its name, the two are different sweeps, and are not mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from pg_platform.config.experiment import FOLDERS, Data
from pg_platform.config.paths import absolute
from pg_platform.store.runs import flat
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.trials import SHORT, Trial

_ELSEWHERE = ("resources.", "checkpoints.")
_PATHS = {"data.path", "data.val_path"}
_PLACES = {"seed", "data.loader_processes", *FOLDERS} | _PATHS
"""Keys that do not decide a result, or that are told of in another way."""
_MOST_TOLD = 4


def refuse_other_settings(sweep: str, runs: Sequence[StoredRun], trials: Sequence[Trial]) -> None:
    """ValueError where `runs`, those of the sweep's trials so far, have other settings."""
    differences = next(_differing(runs, trials), None)
    if differences is None:
        return
    raise ValueError(
        f"the sweep {sweep} has {len(runs)} runs in the store with other settings than it is asked "
        f"with now: {differences}. Two settings are two sweeps: give this one a name of its own "
        "(--set name=..., or name in the file; what is finished is not run twice), or set the "
        "earlier results aside with --fresh"
    )


def stored_identity(
    runs: Sequence[StoredRun], identity: Callable[[Data], str]
) -> Callable[[Data], str]:
    """The identity that a data section had when the runs were made, else what `identity` finds."""

    def known(data: Data) -> str:
        wanted = flat(data.model_dump(mode="json", exclude={"loader_processes"}), "data.")
        for run in reversed(runs):
            had = {key: run.params.get(key, value) for key, value in wanted.items()}
            for key in _PATHS & had.keys():  # older runs have it as it was written
                had[key] = had[key] if had[key] == "None" else absolute(had[key])
            if "pg.data" in run.tags and had == wanted:
                return run.tags["pg.data"]
        return identity(data)

    return known


def _differing(runs: Sequence[StoredRun], trials: Sequence[Trial]) -> Iterator[str]:
    """In words, what tells runs from the trials of the same name, and from all trials."""
    planned = {trial.name: trial for trial in trials}
    for run in runs:
        trial = planned.get(run.name)
        if trial is not None and run.tags["pg.trial_id"] != trial.id:
            yield _told(run, trial, flat(trial.experiment.model_dump(mode="json")))
    ids, shared = {trial.id for trial in trials}, _shared(trials)
    for run in runs:
        if run.tags["pg.trial_id"] in ids or not trials:
            continue
        fixed = {key: value for key, value in shared.items() if not _varies(run, key)}
        if any(run.params.get(key, value) != value for key, value in fixed.items()):
            yield _told(run, trials[0], fixed)


def _told(run: StoredRun, trial: Trial, wanted: Mapping[str, str]) -> str:
    """`epochs is 6 there and 2 here`, of the first keys that differ."""
    other = [
        f"{key} is {run.params[key]} there and {value} here"
        for key, value in wanted.items()
        if key in run.params and run.params[key] != value and _decides(key)
    ]
    if other:
        rest = len(other) - _MOST_TOLD
        return ", ".join(other[:_MOST_TOLD]) + (f" and {rest} more" if rest > 0 else "")
    before = run.tags.get("pg.data", "unknown")
    if before != trial.data_hash:
        return f"the images are others ({before} there, {trial.data_hash} here)"
    return "its results are of an earlier version of the package"


def _shared(trials: Sequence[Trial]) -> dict[str, str]:
    """Keys and values that all trials have and that no point varies."""
    experiments = {id(trial.experiment): trial.experiment for trial in trials}.values()
    first, *others = [flat(each.model_dump(mode="json")) for each in experiments] or [{}]
    varied = [f"{key}." for trial in trials for key in trial.point]
    return {
        key: value
        for key, value in first.items()
        if _decides(key)
        and all(other.get(key) == value for other in others)
        and not any(f"{key}.".startswith(each) for each in varied)
    }


def _varies(run: StoredRun, key: str) -> bool:
    """Whether the name of a run's point has the key: then its sweep varied it."""
    parts = key.split(".")
    labels = {".".join(parts[-n:]) for n in range(1, len(parts) + 1)} | {SHORT.get(key, key)}
    named = {word.partition("=")[0] for word in run.tags.get("pg.group", "").split()}
    return bool(labels & named) or any(key.startswith(f"{name}.") for name in named)


def _decides(key: str) -> bool:
    return key not in _PLACES and not key.startswith(_ELSEWHERE)
