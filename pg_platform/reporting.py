"""The report of a sweep written again, by nothing but its file and the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from pg_platform.cluster.driver import trial_folder
from pg_platform.cluster.standing import Retry, look_up
from pg_platform.config.plan import plan
from pg_platform.config.sweep import Sweep
from pg_platform.data.identity import identity
from pg_platform.results.answer import answer
from pg_platform.results.report import write_report
from pg_platform.results.runs import TrialRuns
from pg_platform.results.story import PAGE
from pg_platform.results.tracking import Store


def write_again(sweep: Sweep, root: Path, to: Path | None) -> Iterator[str]:
    """Write tables, figures and page; gives the lines to print. ValueError without a run."""
    with closing(Store.open(root)) as store:
        runs = TrialRuns.found(store, sweep, partial(trial_folder, root))
        assert runs.parent is not None, "a sweep that was found has a run"
        trials = look_up(runs, list(plan(sweep, identity)), sweep, Retry()).trials
        table = write_report(store, runs.parent, sweep, trials)
        yield answer(table)
        if to is not None:
            to.write_text(store.text(runs.parent, PAGE))
            yield f"page: {to}"
        yield f"run: {runs.parent}"
