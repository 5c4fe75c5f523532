"""Reports of a sweep, and of a collection of them, by nothing but their files and the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.standing import searched_before
from pg_platform.config.plan import Trial, plan
from pg_platform.config.sweep import Sweep
from pg_platform.data.identity import identity
from pg_platform.results.answer import answer
from pg_platform.results.report import write_report
from pg_platform.results.reproduction import Entry, reproduction, tally
from pg_platform.results.runs import TrialRuns
from pg_platform.results.story import PAGE, Story
from pg_platform.results.tables import compare
from pg_platform.results.tracking import Store


def write_again(sweep: Sweep, root: Path, to: Path | None) -> Iterator[str]:
    """Write tables, figures and page; gives the lines to print. ValueError without a run."""
    with closing(Store.open(root)) as store:
        runs = TrialRuns.found(store, sweep, partial(trial_folder, root))
        assert runs.parent is not None, "a sweep that was found has a run"
        trials = _trials(runs, sweep)
        table = write_report(store, runs.parent, sweep, trials)
        yield answer(table)
        if to is not None:
            to.write_text(store.text(runs.parent, PAGE))
            yield f"page: {to}"
        yield f"run: {runs.parent}"


def write_reproduction(
    name: str, sweeps: Sequence[Sweep], root: Path, to: Path | None = None
) -> Iterator[str]:
    """Write one page of what became of the claims of `sweeps`; gives the lines to print.

    It goes on the run `reproduction` of the experiment patchgame/`name`, replacing the one before.
    ValueError where none of the sweeps has a run.
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
        store.put_text(run_id, PAGE, text)
        store.note(run_id, f"{tally(entries)} The page is the artifact {PAGE}.")
        store.finish(run_id, "FINISHED", "completed")
        yield tally(entries)
        yield f"reproduction: {PAGE} of the run {run_id}"
    if to is not None:
        to.write_text(text)
        yield f"page: {to}"


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
    """The plan, and what a search has added to it; a report takes over nothing."""
    planned = list(plan(sweep, identity))
    return [*planned, *searched_before(runs.before().values(), planned, sweep)]
