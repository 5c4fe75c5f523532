"""The page of a sweep: its question, answer, claims, figures and caveats, from the store alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from matplotlib.figure import Figure

from pg_platform.config.metrics import measure
from pg_platform.plots.charts import importance_bars
from pg_platform.plots.style import drawn
from pg_platform.report.comparison import Comparison
from pg_platform.report.importance import importances, unknown_because
from pg_platform.report.page import ForecastSummary, PageContent, PageFigure, page
from pg_platform.report.paper_claims import Verdict, verdict
from pg_platform.report.parameter_figures import (
    final_by_parameter,
    heat_map,
    parallel_coordinates,
)
from pg_platform.report.points import resolution_of
from pg_platform.report.summary import answer, caveats
from pg_platform.store.codes import UNKNOWN, mixture
from pg_platform.store.runs import FORECAST
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Sweep
from pg_platform.sweep.schema import Claim
from pg_platform.sweep.trials import Trial

PAGE = "report/page.html"


_FIGURES = "report/figures"


_MOST_HEAT_MAPS = 3


class ReportContents:
    """All that a sweep's page tells, as the store has it now."""

    def __init__(
        self,
        store: Store,
        run: StoredRun,
        sweep: Sweep,
        trials: Sequence[Trial],
        runs: Mapping[str, StoredRun],
    ) -> None:
        """`runs` are those of the trials, by trial id."""
        self.store, self.run, self.sweep = store, run, sweep
        self.trials, self.runs = trials, runs

    def verdicts(self) -> list[Verdict]:
        """What the sweep says to each claim of the paper, in the order of the file."""
        paper = self.sweep.file.paper
        if paper is None:
            return []
        own = self.sweep.metric.name
        return [self._verdict(claim, claim.metric or own) for claim in paper.claims]

    def _verdict(self, claim: Claim, metric: str) -> Verdict:
        resolution = resolution_of(metric, self.trials, self.runs)
        return verdict(claim, list(self._results(metric)), resolution)

    def files(
        self, comparison: Comparison, curves: Figure, verdicts: Sequence[Verdict]
    ) -> dict[str, bytes]:
        """The page and each figure, by their paths on the sweep's run."""
        shares = importances(comparison)
        files, drawings = dict[str, bytes](), list[PageFigure]()
        figures = [("curves", "Learning curves", curves), *self._figures(comparison, shares)]
        for name, title, figure in figures:
            forms = drawn(figure)
            files |= {f"{_FIGURES}/{name}.{suffix}": content for suffix, content in forms.items()}
            drawings.append(PageFigure(title, forms["svg"].decode(), ""))
        content = PageContent(
            title=self.sweep.name,
            question=self.sweep.file.question,
            answer=" ".join(filter(None, [mixture(comparison.codes), answer(comparison)])),
            comparison=comparison,
            paper=self.sweep.file.paper,
            verdicts=verdicts,
            drawings=drawings,
            notes=[why] if (why := unknown_because(comparison)) else [],
            failures=list(self._failures()),
            forecasts=self._forecasts(),
            how_run=self._how_run(),
            caveats=self.caveats(comparison),
        )
        return {**files, PAGE: page(content).encode()}

    def caveats(self, comparison: Comparison) -> list[str]:
        """What a reader has to bear in mind, a sentence each."""
        return caveats(comparison, data=self._data(), device=self._told("pg.device"))

    def _figures(
        self, comparison: Comparison, shares: Mapping[str, float]
    ) -> Iterator[tuple[str, str, Figure]]:
        """(file name, title, figure) of all that the points allow."""
        if not comparison.ranked():
            return
        keys = [key for key in comparison.parameters if self._values(comparison, key) > 1]
        for key in keys:
            figure = final_by_parameter(comparison, key)
            yield f"by_{key}", f"{comparison.metric.name} against {key}", figure
        for one, other in list(combinations(keys, 2))[:_MOST_HEAT_MAPS]:
            yield f"{one}_and_{other}", f"{one} and {other}", heat_map(comparison, one, other)
        if len(keys) > 1:
            yield "parallel", "All points", parallel_coordinates(comparison)
        if shares:
            yield "importance", "What matters (fANOVA)", importance_bars(shares)

    @staticmethod
    def _values(comparison: Comparison, key: str) -> int:
        with_result = [p for p in comparison.points if p.summary.n and key in p.values]
        return len({json.dumps(p.values[key], default=str) for p in with_result})

    def _results(self, name: str) -> Iterator[tuple[Mapping[str, Any], int, float]]:
        """(point, seed, value) of the finished trials that have the metric."""
        for trial in self.trials:
            run = self.runs.get(trial.id)
            if run is None or run.status != "FINISHED":
                continue
            base = name.partition(":")[0]
            value = measure(self.store.history(run.run_id, base), name)
            if math.isfinite(value):
                yield trial.point, trial.seed, value

    def _failures(self) -> Iterator[tuple[str, str]]:
        for trial in self.trials:
            run = self.runs.get(trial.id)
            if run is not None and run.status == "FAILED":
                yield trial.name, self.store.text(run.run_id, "error.txt")

    def _forecasts(self) -> list[ForecastSummary]:
        """What was foreseen when the sweep began, against what its trials took since."""
        text = self.store.find_text(self.run.run_id, FORECAST)
        if text is None:
            return []
        told = json.loads(text)
        took = [self.runs[i].tags.get("pg.seconds") for i in told["trials"] if i in self.runs]
        done = all(took) and len(took) == len(told["trials"])
        actual = sum(float(each) for each in took if each) / 3600 if done else None
        return [ForecastSummary("trials, one after the other", "hours", told["hours"], actual)]

    def _how_run(self) -> dict[str, str]:
        tags = self.run.tags
        told = {
            "recipe": tags.get("pg.recipe", str(self.sweep.file.recipe)),
            "method": self.sweep.file.method,
            "seeds": ", ".join(map(str, self.sweep.seeds)),
            "data": self._data(),
            "device": self._told("pg.device"),
            "precision": self._told("pg.precision"),
            "code": self._told("pg.code") or UNKNOWN,
            "commit": tags.get("mlflow.source.git.commit", "not known"),
            "command": tags.get("mlflow.source.name", "not known"),
            "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
        return {name: text for name, text in told.items() if text}

    def _data(self) -> str:
        data = self.sweep.experiment.data
        said = data.model_dump()
        where = f", {said['path']}" if "path" in said else ""
        return f"{data.kind}{where}, {data.image_size} px"

    def _told(self, tag: str) -> str:
        """What the trials say of where they ran, each thing once."""
        return ", ".join(dict.fromkeys(r.tags[tag] for r in self.runs.values() if tag in r.tags))
