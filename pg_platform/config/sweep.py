"""A sweep file: one question as an experiment, the parameters to vary, and the seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pg_platform.config.document import ConfigError, Document
from pg_platform.config.experiment import Experiment, Resources, Validation
from pg_platform.config.findings import findings
from pg_platform.config.grid import Grid, Point
from pg_platform.config.ladder import LADDER, RUNG, ladder_points
from pg_platform.config.layers import graft, layered
from pg_platform.config.metrics import metric_names
from pg_platform.config.parameters import parameters
from pg_platform.config.problems import Problem, one_of
from pg_platform.config.sweep_file import Metric, SweepFile, SweepResources
from pg_platform.config.tree import Branch, Leaf, at, branch_at, plain, shown
from pg_platform.config.yaml_text import dump

__all__ = ["ConfigError", "Metric", "Sweep", "load_experiment", "load_sweep"]

OF_A_SWEEP = frozenset(SweepResources.model_fields) - frozenset(Resources.model_fields)
"""Keys of `resources` that say how trials share a machine, not where one lives."""


class ExperimentFile(Experiment):
    """All that a file of one run may say."""

    recipe: Any = "default"


@dataclass(frozen=True)
class Sweep:
    """A checked sweep: every point of it is an experiment that can start."""

    name: str
    metric: Metric
    parameters: Mapping[str, tuple[Any, ...]]
    """Dotted keys and their values, in the order of the file."""
    seeds: tuple[int, ...]
    points: tuple[Mapping[str, Any], ...]
    """Dotted key to value, in the order of the file, the last key fastest."""
    experiments: tuple[Experiment, ...]
    """The experiment of each point, with seed 0."""
    source: str
    """YAML that loads as this sweep: recipe and overrides are worked in."""
    file: SweepFile
    """All that the file says: budget, early stopping, claims and the rest."""

    @property
    def experiment(self) -> Experiment:
        """The first point's; where no parameter reaches, all points are like it."""
        return self.experiments[0]


def load_sweep(path: Path, overrides: Sequence[str]) -> Sweep:
    """The sweep in a file, with `--set key=value` on top; ConfigError with all that is wrong.

    Every combination of values is checked here, before anything starts.
    """
    problems: list[Problem] = []
    root = layered(path, overrides, problems, "experiment")
    base = _base(root, problems)
    varied, points = _points(root, base, problems)
    measured = _measured(base)
    known = metric_names(measured or Experiment())
    if measured is not None:
        problems += _unknown_metric(root, known)
    file = Document(_with_metric(root, known[0]), problems).parse(SweepFile)
    return Sweep(
        name=file.name,
        metric=file.metric,
        parameters=varied,
        seeds=file.seeds,
        points=tuple(point.values for point in points),
        experiments=tuple(point.experiment for point in points),
        source=_source(root, path, overrides),
        file=file,
    )


def load_experiment(path: Path, overrides: Sequence[str]) -> Experiment:
    """The run in a file, with `--set key=value` on top; ConfigError with all that is wrong."""
    problems: list[Problem] = []
    root = layered(path, overrides, problems)
    file = Document(root, problems).parse(ExperimentFile)
    return Experiment(**{name: getattr(file, name) for name in Experiment.model_fields})


def _points(
    root: Branch, base: Branch, problems: list[Problem]
) -> tuple[dict[str, tuple[Any, ...]], list[Point]]:
    """What varies, with its values, and the points, by the method that the file names."""
    match at(root, ("method",)):
        case Leaf(value="ladder"):
            points = ladder_points(root, base, problems)
            return {RUNG: tuple(point.values[RUNG] for point in points)}, points
    if LADDER in root.keys:
        remedy = "has no place in a grid; write method: ladder"
        problems.append(Problem(root.keys[LADDER], LADDER, remedy))
    grid = Grid(root, base, list(parameters(root, base, problems)))
    return {parameter.key: parameter.values for parameter in grid.parameters}, grid.points(problems)


def _base(root: Branch, problems: list[Problem]) -> Branch:
    """The experiment that all points share, as a tree."""
    base = branch_at(root, ("experiment",)) or Branch(root.place, {}, {})
    for key in ("seed", "resources"):
        if key in base.keys:
            remedy = f"`{'seeds' if key == 'seed' else key}` at the top of the sweep"
            problems.append(Problem(base.keys[key], f"experiment.{key}", f"belongs into {remedy}"))
    base = base.without("seed", "resources")
    resources = branch_at(root, ("resources",))
    if resources is None:
        return base
    return graft(base, ("resources",), resources.without(*OF_A_SWEEP))


def _with_metric(root: Branch, name: str) -> Branch:
    """The file with the default metric where it names none."""
    match at(root, ("metric",)):
        case None:
            place = root.place
        case Branch(place=place) as metric if "name" not in metric.keys:
            pass
        case _:
            return root
    return graft(root, ("metric", "name"), Leaf(place, name, name))


def _measured(base: Branch) -> Experiment | None:
    """An experiment that is measured as the points are; None where `validation` is bad."""
    given = branch_at(base, ("validation",))
    if given is None:
        return Experiment()
    if findings(Validation, given):
        return None
    return Experiment(validation=Validation.model_validate(plain(given)))


def _unknown_metric(root: Branch, known: Sequence[str]) -> Iterator[Problem]:
    match at(root, ("metric", "name")):
        case Leaf(place=place, value=str(name)) if name not in known:
            yield Problem(place, "metric.name", f"{one_of(name, known)}, got {name!r}")


def _source(root: Branch, path: Path, overrides: Sequence[str]) -> str:
    origin = " ".join((path.name, *(f"--set {text!r}" for text in overrides)))
    recipe = at(root, ("recipe",))
    name = shown(recipe) if recipe is not None else "'default'"
    return f"# {origin}\n# recipe: {name}, worked in below\n{dump(root.without('recipe'))}"
