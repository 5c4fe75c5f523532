"""A sweep file: one question as an experiment, the parameters to vary, and the seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pg_platform.config.errors import Problem, meant, one_of
from pg_platform.config.experiment import Experiment, Resources, Validation
from pg_platform.config.metrics import direction, metric_names, wrong_metric
from pg_platform.config.overrides import graft, layered
from pg_platform.config.paths import sweep_with_absolute_paths, with_absolute_paths
from pg_platform.config.section import ConfigError, Document, Section
from pg_platform.config.validation import findings
from pg_platform.config.yaml_tree import (
    Branch,
    Items,
    KeyPath,
    Leaf,
    at,
    branch_at,
    dotted,
    dump,
    plain,
    read,
    shown,
)
from pg_platform.sweep.points import baseline_problems, read_points
from pg_platform.sweep.schema import Metric, SweepFile, SweepResources, safe_name
from pg_platform.sweep.search_space import Space
from pg_platform.sweep.variant import variant


def unknown_metrics(root: Branch, known: Sequence[str]) -> Iterator[Problem]:
    """The metrics of the sweep file `root` and of its claims that are not in `known`."""
    for path in [("metric", "name"), *_in_claims(root, "metric")]:
        match at(root, path):
            case Leaf(place=place, value=str(name)) if why := wrong_metric(name, known):
                yield Problem(place, dotted(path), f"{why}, got {name!r}")


def unvaried_claims(root: Branch, varied: Sequence[str]) -> Iterator[Problem]:
    """Claims about a parameter that the sweep does not vary."""
    for path in _in_claims(root, "parameter"):
        match at(root, path):
            case Leaf(place=place, value=str(key)) if key not in varied:
                why = f"is not varied by this sweep{meant(key, varied)}, got {key!r}"
                yield Problem(place, dotted(path), why)


def _in_claims(root: Branch, key: str) -> list[KeyPath]:
    claims = at(root, ("paper", "claims"))
    count = len(claims.items) if isinstance(claims, Items) else 0
    return [("paper", "claims", index, key) for index in range(count)]


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
    """What tells it from all others: its file's name, and in brackets what `--set` made of it."""
    metric: Metric
    parameters: Mapping[str, tuple[Any, ...]]
    """Dotted keys and their values, in the order of the file."""
    seeds: tuple[int, ...]
    points: tuple[Mapping[str, Any], ...]
    """Dotted key to value, in the order of the file, the last key fastest."""
    experiments: tuple[Experiment, ...]
    """The experiment of each point, with seed 0."""
    base: Experiment
    """What all points share; where that is no experiment by itself, the first point's."""
    space: Space | None
    """What a search chooses from that has no points before it starts; None for other methods."""
    source: str
    """YAML that loads as this sweep: recipe, overrides and the variant that they make of it."""
    file: SweepFile
    """All that the file says: budget, early stopping, claims and the rest."""

    @property
    def family(self) -> str:
        """The name in the file, which sweeps with other values of its experiment share."""
        return self.file.name

    @property
    def experiment(self) -> Experiment:
        """The first point's, or the base; where no parameter reaches, all points are like it."""
        return self.experiments[0] if self.experiments else self.base


def load_sweep(path: Path, overrides: Sequence[str], scale: str | None = None) -> Sweep:
    """The sweep in a file, in the form `scale` of it where one is named, with `--set key=value`
    on top; ConfigError with all that is wrong.

    Every combination of values is checked here, before anything starts.
    """
    problems: list[Problem] = []
    root = layered(path, overrides, problems, "experiment", scale=scale)
    root = sweep_with_absolute_paths(root, Experiment, problems)
    base = _base(root, problems)
    found = read_points(root, base, problems)
    experiments = tuple(point.experiment for point in found.points)
    shared = _shared(base, experiments, problems)
    measured = _measured(base)
    known = metric_names(measured or Experiment())
    if measured is not None:
        problems += unknown_metrics(root, known)
    if found.varied or not problems:
        problems += unvaried_claims(root, list(found.varied))
        problems += baseline_problems(root, found)
    root = _as_variant(root, path, overrides, scale, found.varied)
    file = Document(_with_metric(root, known, problems), problems).parse(SweepFile)
    return Sweep(
        name=f"{file.name} ({file.variant})" if file.variant else file.name,
        metric=file.metric,
        parameters=found.varied,
        seeds=file.seeds,
        points=tuple(point.values for point in found.points),
        experiments=experiments,
        base=shared,
        space=found.space,
        source=_source(root, path, overrides),
        file=file,
    )


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The run in a file, with `--set key=value` on top; ConfigError with all that is wrong."""
    problems: list[Problem] = []
    root = with_absolute_paths(layered(Path(path), overrides, problems), Experiment, problems)
    file = Document(root, problems).parse(ExperimentFile)
    return Experiment(**{name: getattr(file, name) for name in Experiment.model_fields})


def _shared(base: Branch, experiments: Sequence[Experiment], problems: list[Problem]) -> Experiment:
    """The base, or the first point; that there is neither is appended to `problems`."""
    faults = findings(Experiment, base)
    if not faults:
        return Experiment.model_validate(plain(base))
    if experiments:
        return experiments[0]
    if not problems:
        told = [fault.problem(base) for fault in faults]
        problems += [problem._replace(key=f"experiment.{problem.key}") for problem in told]
    return Experiment()


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


def _as_variant(
    root: Branch,
    path: Path,
    overrides: Sequence[str],
    scale: str | None,
    varied: Mapping[str, tuple[Any, ...]],
) -> Branch:
    """The file with what tells it from the one as it was written, where something does."""
    made = variant(path, overrides, scale, root, partial(_base, problems=[]), varied)
    if not made:
        return root
    match at(root, ("variant",)):
        case Leaf(value=str(before)) if before:
            made = f"{before}, {made}"
    return root.put("variant", root.place, Leaf(root.place, made, made))


def _with_metric(root: Branch, known: Sequence[str], problems: list[Problem]) -> Branch:
    """The file with the first of the `known` metrics where it names none, and with a goal.

    A goal that the metric's name does not decide is missing, which is appended to `problems`.
    """
    match at(root, ("metric",)):
        case None:
            root = graft(root, ("metric", "name"), Leaf(root.place, known[0], known[0]))
        case Branch(place=place) as metric if "name" not in metric.keys:
            root = graft(root, ("metric", "name"), Leaf(place, known[0], known[0]))
    match at(root, ("metric",)):
        case Branch(keys=keys, values={"name": Leaf(place=place, value=str(name))}) if (
            "goal" not in keys
        ):
            goal = direction(name)
            if goal is None and wrong_metric(name, known) is None:
                why = f"neither end of {name} is good by itself; write maximize or minimize"
                problems.append(Problem(place, "metric.goal", f"is missing: {why}"))
            goal = goal or "maximize"
            return graft(root, ("metric", "goal"), Leaf(place, goal, goal))
    return root


def _measured(base: Branch) -> Experiment | None:
    """An experiment that is measured as the points are; None where `validation` is bad."""
    given = branch_at(base, ("validation",))
    if given is None:
        return Experiment()
    if findings(Validation, given):
        return None
    return Experiment(validation=Validation.model_validate(plain(given)))


def _source(root: Branch, path: Path, overrides: Sequence[str]) -> str:
    origin = " ".join((path.name, *(f"--set {text!r}" for text in overrides)))
    recipe = at(root, ("recipe",))
    name = shown(recipe) if recipe is not None else "'default'"
    below = dump(root.without("recipe"))
    return f"# {origin}\n# recipe: {name}, worked in below\nrecipe: {NO_RECIPE}\n{below}"


NO_RECIPE = "photos"
"""The recipe that changes nothing."""


def without_recipe(source: str) -> str:
    """A `source` of any version: before 0.1.0 a file that named no recipe had none."""
    if any(line.startswith("recipe:") for line in source.splitlines()):
        return source
    return f"recipe: {NO_RECIPE}\n{source}"


SWEEPS = "sweeps"


class Collection(Section):
    """All that the file of a collection may say: its name, and sweep files beside it by name."""

    name: Annotated[str, AfterValidator(safe_name)]
    sweeps: Annotated[tuple[str, ...], Field(min_length=1)]


def is_collection(path: Path) -> bool:
    """Whether the file has a list of sweeps; ConfigError where it is not a YAML mapping."""
    return SWEEPS in read(path, []).keys


def load_collection(path: Path) -> tuple[str, list[Path]]:
    """The name of a collection and the files of its sweeps, in its order.

    ConfigError with all that is wrong. What the sweeps say themselves is not checked here.
    """
    document = Document.read(path)
    document.problems += _unknown(document.root, path)
    collection = document.parse(Collection)
    return collection.name, [path.with_name(f"{name}.yaml") for name in collection.sweeps]


def _unknown(root: Branch, path: Path) -> Iterator[Problem]:
    """Names that stand for no sweep beside the file, or stand there twice."""
    listed = at(root, (SWEEPS,))
    known = sorted(file.stem for file in path.parent.glob("*.yaml") if file != path)
    seen: set[str] = set()
    for index, item in enumerate(listed.items if isinstance(listed, Items) else ()):
        match item:
            case Leaf(value=str(name)) if why := _why_not(name, path, known, seen):
                yield Problem(item.place, dotted((SWEEPS, index)), f"{why}, got {shown(item)}")
                seen.add(name)
            case Leaf(value=str(name)):
                seen.add(name)


def _why_not(name: str, path: Path, known: Sequence[str], seen: set[str]) -> str | None:
    if name in seen:
        return "wants each sweep once"
    if name not in known:
        return one_of(name, known) if known else f"wants a sweep, of which {path.parent} has none"
    if is_collection(path.with_name(f"{name}.yaml")):
        return "wants a sweep and no collection"
    return None
