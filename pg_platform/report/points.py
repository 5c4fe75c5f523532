"""The points of a sweep: what the seeds of each gave, and how it differs from another point."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pg_platform.config.metrics import base, is_derived, measure, reported, threshold
from pg_platform.report.chance import pool
from pg_platform.report.statistics import (
    ALPHA,
    FEWEST,
    Paired,
    Resolution,
    Summary,
    holm,
    paired,
    summarise,
)
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import Metric
from pg_platform.sweep.trials import Trial

History = Callable[[str, str], Sequence[tuple[int, float]]]
"""(epoch, value) by epoch, of a run id and a metric."""
Fate = Literal["finished", "failed", "infeasible", "pruned", "open"]
Verdict = Literal[
    "baseline",
    "better",
    "worse",
    "not distinguishable",
    "no spread",
    "too few seeds",
    "no shared seed",
]


@dataclass(frozen=True)
class PointResult:
    """One point of a sweep and what its seeds gave.

    `results` are the finite results of its finished trials by seed, `run_ids` the runs of all its
    finished trials. `failed` counts trials that failed or gave no finite result, `infeasible`
    those whose experiment does not fit the machine, `pruned` those stopped early, `unreached`
    those that finished below the threshold of the metric, `open` those that have not ended.
    """

    group: str
    values: dict[str, Any]
    run_ids: tuple[str, ...]
    results: dict[int, float]
    summary: Summary
    failed: int
    infeasible: int
    pruned: int
    unreached: int
    open: int


@dataclass(frozen=True)
class Difference:
    """A point less a reference point, over the seeds finished at both.

    `p` is corrected for the number of points that are compared with the reference. There is a
    verdict from FEWEST shared seeds on, "no spread" where they all differ by the same and nothing
    is known of what chance leaves to such a difference.
    """

    difference: Paired
    p: float | None
    verdict: Verdict


def gather(
    trials: Sequence[Trial],
    runs: Mapping[str, StoredRun],
    metric: Metric,
    history: History | None,
) -> tuple[PointResult, ...]:
    """The points of `trials`, in the order of the plan, from their runs by trial id."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    resolution = resolution_of(metric.name, trials, runs)
    return tuple(
        _point(members, runs, metric.name, history, resolution) for members in groups.values()
    )


def resolution_of(name: str, trials: Sequence[Trial], runs: Mapping[str, StoredRun]) -> Resolution:
    """How finely the runs of `trials`, by trial id, measure the metric `name`.

    Images count as few as any of the runs has. One that does not tell how many it was measured on
    had one pool of candidates at least.
    """
    known = reported(name)
    if known is None:
        return Resolution()
    if threshold(name) is not None:
        every = [trial.experiment.validation.every_epochs for trial in trials]
        return Resolution(step=float(max(every) if name.startswith("val/") else 1))
    there = [runs[trial.id].metrics for trial in trials if trial.id in runs]
    measured = [metrics for metrics in there if base(name) in metrics]
    told = [metrics[known.images] for metrics in measured if known.images in metrics]
    images = int(min(told)) if told and len(told) == len(measured) else pool(name)
    return Resolution(known.share, images, known.step)


def contrasts(
    points: Sequence[PointResult], reference: PointResult, metric: Metric, resolution: Resolution
) -> dict[str, Difference]:
    """Each point of `points` against `reference`, by group; the reference is left out.

    Chance leaves to the difference of two shares of the same images at most the sum of what it
    leaves to each: as much as that where the points are right on images that have nothing to do
    with each other, less where one image is easy, or hard, for both (the variance of paired
    proportions, McNemar 1947). Which images a point was right on is not kept, so the sum is taken.
    """
    differences = {
        point.group: _difference(point, reference, resolution)
        for point in points
        if point.group != reference.group
    }
    raw = {group: found.p for group, found in differences.items() if found.p is not None}
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    return {
        group: Difference(
            found, corrected.get(group), _verdict(found, corrected.get(group), metric)
        )
        for group, found in differences.items()
    }


def fate(run: StoredRun) -> Fate:
    """How a run ended; the reason that it was tagged with says more than its status."""
    if run.status in ("RUNNING", "SCHEDULED"):
        return "open"
    match run.tags.get("pg.stop_reason"):
        case "infeasible":
            return "infeasible"
        case "pruned":
            return "pruned"
    match run.status:
        case "FINISHED":
            return "finished"
        case "FAILED":
            return "failed"
    return "open"


def _point(
    members: Sequence[Trial],
    runs: Mapping[str, StoredRun],
    name: str,
    history: History | None,
    resolution: Resolution,
) -> PointResult:
    fates = {trial.seed: fate(runs[trial.id]) for trial in members if trial.id in runs}
    finished = {t.seed: runs[t.id] for t in members if fates.get(t.seed) == "finished"}
    given = {seed: result(run, name, history) for seed, run in finished.items()}
    summary, count = summarise(given.values(), resolution), Counter(fates.values())
    unreached = summary.excluded if threshold(name) is not None else 0
    return PointResult(
        group=members[0].group,
        values=members[0].point,
        run_ids=tuple(run.run_id for run in finished.values()),
        results={seed: value for seed, value in given.items() if math.isfinite(value)},
        summary=summary,
        failed=count["failed"] + summary.excluded - unreached,
        infeasible=count["infeasible"],
        pruned=count["pruned"],
        unreached=unreached,
        open=count["open"] + len(members) - len(fates),
    )


def result(run: StoredRun, name: str, history: History | None) -> float:
    """The last value of a metric, or what is derived from its history; NaN where there is none."""
    if not is_derived(name):
        return run.metrics.get(name, math.nan)
    assert history is not None, f"{name} is measured from histories, and none are given"
    return measure(history(run.run_id, base(name)), name)


def _difference(point: PointResult, reference: PointResult, resolution: Resolution) -> Paired:
    """Over the seeds that both have."""
    shared = sorted(point.results.keys() & reference.results.keys())
    ours, theirs = ([each.results[seed] for seed in shared] for each in (point, reference))
    left = sum(resolution.variance(math.fsum(some) / len(some)) for some in (ours, theirs) if some)
    by_seed = {seed: one - other for seed, one, other in zip(shared, ours, theirs, strict=True)}
    return paired(by_seed, least_variance=left, most=1.0 if resolution.share else math.inf)


def _verdict(difference: Paired, p: float | None, metric: Metric) -> Verdict:
    if difference.mean is None:
        return "no shared seed"
    if difference.n < FEWEST:
        return "too few seeds"
    if p is None:
        return "no spread"
    if p >= ALPHA:
        return "not distinguishable"
    return "better" if (difference.mean > 0) == (metric.goal == "maximize") else "worse"
