"""Reports of a sweep, and of a collection of them, from the store alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from pg_platform.config.errors import ConfigError
from pg_platform.data.identity import identity
from pg_platform.results.answer import answer
from pg_platform.results.codes import mixture
from pg_platform.results.report import (
    RESULTS,
    PoorerReportError,
    keep_report,
    make_report,
    refuse_poorer,
    results_of,
)
from pg_platform.results.reproduction import Entry, reproduction, tally
from pg_platform.results.story import PAGE, Story
from pg_platform.results.tables import compare
from pg_platform.store.runs import SOURCE, TrialRuns, searched_before, trials_of
from pg_platform.store.settings import stored_identity
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Sweep, load_sweep
from pg_platform.sweep.trials import Trial, plan, trial_folder


def run_last(root: Path, name: str, file: Sweep | None = None) -> Sweep | None:
    """The sweep called `name`, or of its variants the one that ran last, as it was asked then.

    None where the store has no run of it. `file` stands in where the store does not hold what was
    asked; without it that is a ValueError.
    """
    with closing(Store.open(root)) as store:
        found = store.sweeps_named(name)
        return _as_it_ran(store, found[-1], file) if found else None


def write_again(sweep: Sweep, root: Path, to: Path | None) -> Iterator[str]:
    """Write tables, figures and page; gives the lines to print. ValueError without a run.

    Where the report in the store tells of more results it stays; `to` has the page of this one.
    """
    with closing(Store.open(root)) as store:
        runs = TrialRuns.found(store, sweep, partial(trial_folder, root))
        assert runs.parent is not None, "a sweep that was found has a run"
        report = make_report(store, runs.parent, sweep, _trials(runs, sweep))
        yield f"sweep: {sweep.name}"
        if (told := mixture(report.comparison.codes)) is not None:
            yield told
        yield answer(report.comparison)
        try:
            keep_report(store, runs.parent, sweep.name, report)
        except PoorerReportError as error:
            yield str(error)
        if to is not None:
            to.write_bytes(report.files[PAGE])
            yield f"page: {to}"
        yield f"run: {runs.parent}"


def write_reproduction(
    name: str, sweeps: Sequence[Sweep], root: Path, to: Path | None = None
) -> Iterator[str]:
    """Write one page of what became of the claims of `sweeps`; gives the lines to print.

    It goes on the run `reproduction` of the experiment patchgame/`name`, replacing the one before
    unless that tells of more results. ValueError where none of the sweeps has a run.
    """
    with closing(Store.open(root)) as store:
        begun = {run.tags["pg.sweep"] for run in store.sweeps()}
        entries = [_entry(store, sweep, root) for sweep in sweeps if sweep.name in begun]
        missing = [sweep.name for sweep in sweeps if sweep.name not in begun]
        if not entries:
            raise ValueError(f"{store.uri} holds no run of {', '.join(missing)}; pg-sweep first")
        text = reproduction(f"{name}: reproduction", entries, missing)
        experiment = store.experiment(f"patchgame/{name}", sweeps[0].metric.base)
        run_id = store.run(
            experiment, f"{name}/reproduction", "reproduction", tags={"pg.kind": "reproduction"}
        )
        yield tally(entries)
        results = sum(results_of(entry.comparison) for entry in entries)
        try:
            refuse_poorer(store, run_id, name, results)
        except PoorerReportError as error:
            yield str(error)
        else:
            store.tag(run_id, {RESULTS: str(results)})
            store.put_text(run_id, PAGE, text)
            store.note(run_id, f"{tally(entries)} The page is the artifact {PAGE}.")
        store.finish(run_id, "FINISHED", "completed")
        yield f"reproduction: {PAGE} of the run {run_id}"
    if to is not None:
        to.write_text(text)
        yield f"page: {to}"


def _as_it_ran(store: Store, run: StoredRun, file: Sweep | None) -> Sweep:
    """The sweep whose own run is `run`, from the text that the run keeps of it."""
    text = store.find_text(run.run_id, SOURCE)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "sweep.yaml")
        try:
            if text is not None:
                kept.write_text(text)
                return load_sweep(kept, [])
            why = f"has no {SOURCE}"
        except ConfigError as error:
            why = f"has a {SOURCE} that this version does not read: {error}"
    if file is not None and file.name == run.tags["pg.sweep"]:
        return file
    raise ValueError(
        f"the run {run.run_id} of the sweep {run.tags['pg.sweep']} {why}; give its file and all "
        "that was set with it, by --set KEY=VALUE"
    )


def _entry(store: Store, sweep: Sweep, root: Path) -> Entry:
    """What the store has of one sweep, compared and judged anew."""
    found = TrialRuns.found(store, sweep, partial(trial_folder, root))
    assert found.parent is not None, "a sweep that was found has a run"
    trials = _trials(found, sweep)
    runs = {run.tags["pg.trial_id"]: run for run in store.trials(found.parent)}
    comparison = compare(trials, runs, sweep.metric, sweep.file.baseline, store.history)
    story = Story(store, store.look(found.parent), sweep, trials, runs)
    return Entry(
        sweep.name,
        sweep.file.question,
        sweep.file.paper,
        comparison,
        story.verdicts(),
        found.parent,
        story.caveats(comparison),
    )


def _trials(runs: TrialRuns, sweep: Sweep) -> list[Trial]:
    """The plan, and what a search has added to it; a report takes over nothing.

    The data are taken for what they were when the trials ran: they may be gone, or others, since.
    """
    before = trials_of(runs.store, runs.sweep)
    known = stored_identity(before, identity)
    planned = list(plan(sweep, known))
    return [*planned, *searched_before(before, planned, sweep, known)]
