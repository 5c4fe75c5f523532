"""The report of a sweep on its parent run: the answer, its table, its figure."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from matplotlib.figure import Figure

from pg_platform.config.metrics import base
from pg_platform.plots.style import drawn
from pg_platform.results.answer import answer
from pg_platform.results.codes import mixture
from pg_platform.results.figures import MOST_CURVES, learning_curves, mean_curve
from pg_platform.results.paired import FEWEST
from pg_platform.results.points import resolution_of
from pg_platform.results.statistics import Resolution
from pg_platform.results.story import Story
from pg_platform.results.tables import Comparison, chance, compare
from pg_platform.store.mlflow_views import VIEWS, view_link
from pg_platform.store.runs import TrialRuns
from pg_platform.store.store import NOTE_LIMIT, Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Sweep
from pg_platform.sweep.trials import Trial

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


class SweepReport:
    """A sweep's report, written as often as its cost allows."""

    def __init__(self, runs: TrialRuns, sweep: Sweep, trials: Sequence[Trial]) -> None:
        assert runs.parent is not None, "a report stands on the run of a sweep"
        self.store, self.run_id = runs.store, runs.parent
        self.sweep, self.trials = sweep, trials
        self._due = time.monotonic()
        self.refused: PoorerReportError | None = None
        """Why the last report was not written; None where it was."""

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
    story = Story(store, run, sweep, trials, runs)
    verdicts = story.verdicts()
    if whole:
        files |= story.files(comparison, curves, verdicts)
    return Report(comparison, files, description(comparison, run, [v.reason for v in verdicts]))


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
