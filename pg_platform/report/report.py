"""The report of a sweep on its parent run: the answer, its table, its figure."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from pg_platform.config.errors import ConfigError
from pg_platform.config.metrics import base
from pg_platform.data.identity import identity
from pg_platform.plots.style import drawn
from pg_platform.report.comparison import Comparison, chance, compare
from pg_platform.report.contents import PAGE, ReportContents
from pg_platform.report.learning_curves import MOST_CURVES, learning_curves, mean_curve
from pg_platform.report.points import resolution_of
from pg_platform.report.reproduction import SweepEntry, reproduction, tally
from pg_platform.report.statistics import FEWEST, Resolution
from pg_platform.report.summary import answer
from pg_platform.store.codes import mixture
from pg_platform.store.mlflow_views import VIEWS, view_link
from pg_platform.store.runs import SOURCE, TrialRuns, searched_before, trials_of
from pg_platform.store.settings import stored_identity
from pg_platform.store.store import NOTE_LIMIT, Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Sweep, load_sweep, without_recipe
from pg_platform.sweep.trials import Trial, plan, trial_folder

RESULTS = "pg.results"
"""The tag of a run that says of how many results its report tells."""


TABLE = "tables/comparison"


FIGURE = "report/accuracy_by_images"


_SHARE_OF_TIME = 0.03


_LEGEND = (
    "One result per seed: mean and standard deviation (sd) over n seeds, Student's 95 % interval "
    "of the mean, the best point marked *. The sd of a share is at least what the number of its "
    "images leaves to chance. Differences to the baseline are paired by seed; p is that of the "
    f"paired t-test, corrected for the number of points (Holm), from {FEWEST} seeds on."
)


class PoorerReportError(ValueError):
    """A report that is not written, since that in the store tells of more results."""

    def __init__(self, name: str, kept: int, found: int) -> None:
        super().__init__(
            f"the report of {name} in the store stays as it is: it has {kept} results, this one "
            f"{found}; pg-sweep with --set name=... makes one of these, and runs nothing twice"
        )


@dataclass(frozen=True)
class Report:
    """All that the report of a sweep leaves on its run; `files` by their paths there."""

    comparison: Comparison
    files: Mapping[str, bytes]
    note: str
    claims: tuple[str, ...]
    """What the sweep says to each claim of the paper, a sentence each."""


class SweepReport:
    """A sweep's report, written as often as its cost allows."""

    def __init__(self, runs: TrialRuns, sweep: Sweep, trials: Sequence[Trial]) -> None:
        assert runs.parent is not None, "a report stands on the run of a sweep"
        self.store, self.run_id = runs.store, runs.parent
        self.sweep, self.trials = sweep, trials
        self._due = time.monotonic()
        self.refused: PoorerReportError | None = None
        """Why the last report was not written; None where it was."""
        self.claims: tuple[str, ...] = ()
        """What the last report says to each claim of the paper."""

    def write_when_due(self) -> None:
        """Writes, unless reports would then take more than `_SHARE_OF_TIME` of the time."""
        if time.monotonic() >= self._due:
            self.write()

    def write(self, *, whole: bool = False) -> Comparison | None:
        """Writes it now, the `whole` of it with page and figures or what changes with each trial.

        Gives the table, None where there is no point yet or the file wants no report.
        """
        if not self.trials or self.sweep.file.report == "off":
            return None
        started = time.monotonic()
        whole = whole and self.sweep.file.report == "full"
        report = make_report(self.store, self.run_id, self.sweep, self.trials, whole=whole)
        self.claims = report.claims
        try:
            keep_report(self.store, self.run_id, self.sweep.name, report)
            self.refused = None
        except PoorerReportError as error:
            self.refused = error
        ended = time.monotonic()
        self._due = ended + (ended - started) / _SHARE_OF_TIME
        return report.comparison


def write_report(
    store: Store, sweep_run_id: str, sweep: Sweep, trials: Sequence[Trial], *, whole: bool = True
) -> Comparison:
    """Puts the report on the sweep's run, replacing the one before, from the store alone.

    Leaves tables/comparison (json, csv, md, tex), report/accuracy_by_images (png, svg) and, on the
    run and on its experiment, a description that opens with the answer; the `whole` of it has
    report/page.html and report/figures as well. Returns the comparison. Raises PoorerReportError,
    with nothing written, where the one before tells of more results.
    """
    report = make_report(store, sweep_run_id, sweep, trials, whole=whole)
    keep_report(store, sweep_run_id, sweep.name, report)
    return report.comparison


def make_report(
    store: Store, sweep_run_id: str, sweep: Sweep, trials: Sequence[Trial], *, whole: bool = True
) -> Report:
    """The report as the store has its trials now; nothing is written."""
    runs = {run.tags["pg.trial_id"]: run for run in store.trials(sweep_run_id)}
    comparison = compare(trials, runs, sweep.metric, sweep.file.baseline, store.history)
    metric = base(sweep.metric.name)
    curves = _figure(store, comparison, resolution_of(metric, trials, runs))
    run = store.look(sweep_run_id)
    files = {f"{FIGURE}.{suffix}": content for suffix, content in drawn(curves).items()}
    story = ReportContents(store, run, sweep, trials, runs)
    verdicts = story.verdicts()
    if whole:
        files |= story.files(comparison, curves, verdicts)
    claims = tuple(verdict.sentence for verdict in verdicts)
    return Report(comparison, files, description(comparison, run, claims), claims)


def keep_report(store: Store, sweep_run_id: str, name: str, report: Report) -> None:
    """Puts a report on the run of the sweep called `name`; PoorerReportError as `write_report`."""
    found = results_of(report.comparison)
    refuse_poorer(store, sweep_run_id, name, found)
    store.tag(sweep_run_id, {RESULTS: str(found)})
    store.put_table(sweep_run_id, TABLE, report.comparison.table())
    for path, content in report.files.items():
        store.put_bytes(sweep_run_id, path, content)
    store.note(sweep_run_id, report.note)
    if found:  # one that was begun afresh has the place of the one before from its first result on
        store.note_experiment(store.look(sweep_run_id).experiment_id, report.note)


def results_of(comparison: Comparison) -> int:
    """How many trials of a comparison have a result; one below the threshold of its metric too."""
    return sum(point.summary.n + point.unreached for point in comparison.points)


def refuse_poorer(store: Store, run_id: str, name: str, found: int) -> None:
    """PoorerReportError where the run's report tells of more than `found` results."""
    if (kept := _kept(store, run_id)) > found:
        raise PoorerReportError(name, kept, found)


def _kept(store: Store, run_id: str) -> int:
    """Of how many results the report in the store tells, by its table where no tag says so."""
    if (told := store.look(run_id).tags.get(RESULTS)) is not None:
        return int(told)
    text = store.find_text(run_id, f"{TABLE}.json")
    try:
        table = json.loads(text or "{}")
    except ValueError:  # cut short by a kill: nothing that could be lost
        return 0
    counts = [at for at, name in enumerate(table.get("columns", [])) if name in ("n", "unreached")]
    return sum(int(row[at] or 0) for row in table.get("data", []) for at in counts)


def description(comparison: Comparison, run: StoredRun, verdicts: Sequence[str] = ()) -> str:
    """The front page of a sweep's run, in Markdown that MLflow keeps whole."""
    figure = f"get-artifact?path={quote(FIGURE, safe='')}.png&run_uuid={run.run_id}"
    views = " | ".join(
        f"[{name}]({view_link('', run.experiment_id, key)})" for key, name in VIEWS.items()
    )
    first = [told] if (told := mixture(comparison.codes)) else []
    above = "\n\n".join([*first, answer(comparison), *verdicts, ""])
    below = (
        f"\n\n{_LEGEND}\n\n![{base(comparison.metric.name)} by images seen]({figure})\n\n{views}\n"
    )
    return above + _shortened(comparison, NOTE_LIMIT - len(above) - len(below)) + below


def _shortened(comparison: Comparison, room: int) -> str:
    """The Markdown table, without its last rows where it has more than `room` characters."""
    text = comparison.short().markdown(padding="&nbsp;")
    if len(text) <= room:
        return text
    more = f"\n\nMore rows: {TABLE}.csv."
    return text[: text.rindex("\n", 0, room - len(more))] + more


def _figure(store: Store, comparison: Comparison, resolution: Resolution) -> Figure:
    """The curves of the best points, in the order of the plan."""
    ranked, metric = comparison.ranked(), base(comparison.metric.name)
    best, by_images = ranked[:MOST_CURVES], f"by_images/{metric}"
    histories = {
        point.group: [store.history(run_id, by_images) for run_id in point.run_ids]
        for point in comparison.points
        if point in best
    }
    curves = [mean_curve(group, several, resolution) for group, several in histories.items()]
    return learning_curves(
        [curve for curve in curves if curve is not None],
        metric=metric,
        chance=chance(metric),
        left_out=len(ranked) - len(best),
    )


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
        report = make_report(store, runs.parent, sweep, planned_trials(runs, sweep))
        yield f"sweep: {sweep.name}"
        if (told := mixture(report.comparison.codes)) is not None:
            yield told
        yield answer(report.comparison)
        yield from report.claims
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
                kept.write_text(without_recipe(text))
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


def trials_and_runs(
    store: Store, sweep: Sweep, root: Path
) -> tuple[list[Trial], dict[str, StoredRun]]:
    """The trials of a sweep that has run, and their runs by trial id; ValueError for none."""
    found = TrialRuns.found(store, sweep, partial(trial_folder, root))
    assert found.parent is not None, "a sweep that was found has a run"
    runs = {run.tags["pg.trial_id"]: run for run in store.trials(found.parent)}
    return planned_trials(found, sweep), runs


def _entry(store: Store, sweep: Sweep, root: Path) -> SweepEntry:
    """What the store has of one sweep, compared and judged anew."""
    found = TrialRuns.found(store, sweep, partial(trial_folder, root))
    assert found.parent is not None, "a sweep that was found has a run"
    trials, runs = trials_and_runs(store, sweep, root)
    comparison = compare(trials, runs, sweep.metric, sweep.file.baseline, store.history)
    story = ReportContents(store, store.look(found.parent), sweep, trials, runs)
    return SweepEntry(
        sweep.name,
        sweep.file.question,
        sweep.file.paper,
        comparison,
        story.verdicts(),
        found.parent,
        story.caveats(comparison),
    )


def planned_trials(runs: TrialRuns, sweep: Sweep) -> list[Trial]:
    """The plan, and what a search has added to it; a report takes over nothing.

    The data are taken for what they were when the trials ran: they may be gone, or others, since.
    """
    before = trials_of(runs.store, runs.sweep)
    known = stored_identity(before, identity)
    planned = list(plan(sweep, known))
    return [*planned, *searched_before(before, planned, sweep, known)]
