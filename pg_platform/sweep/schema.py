"""All that a sweep file may say, section by section, with each default."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from pg_platform.config.experiment import Resources
from pg_platform.config.metrics import EPOCHS_TO, Goal, direction, opposite
from pg_platform.config.section import Section, Wrong

MOST_SEEDS = 10_000
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def safe_name(name: str) -> str:
    """A name that can stand in a path, a URL and a shell command as it is."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise ValueError("wants up to 64 of a-z, 0-9, _ and -, a letter or digit first")
    return name


def safe_variant(text: str) -> str:
    """What may stand in a name beside it: no separators of folders, addresses or quotes."""
    if not re.fullmatch(r"[A-Za-z0-9_.,=+ -]{0,96}", text):
        raise ValueError("wants up to 96 of letters, digits, spaces and _.,=+-")
    return text


def _seeds(given: Any) -> Any:
    """A number n stands for the seeds 0 to n - 1."""
    match given:
        case int() if given is not True and 1 <= given <= MOST_SEEDS:
            return tuple(range(given))
        case tuple() | list():
            return given
    raise ValueError(f"wants a number of seeds from 1 to {MOST_SEEDS}, or a list of seeds")


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        repeated = next(seed for seed, count in Counter(seeds).items() if count > 1)
        raise ValueError(f"wants each seed once, {repeated} is there more often")
    return seeds


def _duration(given: Any) -> Any:
    """`90s`, `30m`, `12h` or `2d` in seconds."""
    if isinstance(given, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", given)):
        return float(found[1]) * _SECONDS[found[2]]
    raise ValueError("wants a duration such as 90s, 30m, 12h or 2d")


Duration = Annotated[PositiveFloat, BeforeValidator(_duration)]
"""Seconds, written with a unit."""


class Metric(Section):
    """What the points are compared by: a metric of training, and which end of it is good.

    Beside the last value of a metric, `NAME:epochs_to:X` is the first epoch at which NAME is as
    good as X, and `NAME:area` the mean of NAME over the epochs. A file may leave out a `goal` that
    the name decides: more success is better, and less loss, and fewer epochs to a level.
    """

    name: str
    goal: Goal

    @classmethod
    def of(cls, name: str) -> Self:
        """A metric by its good end, which its name has to decide."""
        goal = direction(name)
        assert goal is not None, f"neither end of {name} is good by itself"
        return cls(name=name, goal=goal)

    @property
    def base(self) -> Metric:
        """What it is measured from, and which end of that this metric's goal makes the good one."""
        name, _, derived = self.name.partition(":")
        if not derived.startswith(EPOCHS_TO):
            return Metric(name=name, goal=self.goal)
        own = direction(name) or "maximize"
        return Metric(name=name, goal=own if self.goal == "minimize" else opposite(own))

    @property
    def warning(self) -> str | None:
        """What to tell of a goal that takes the bad end of a metric for the good one."""
        own = direction(self.name)
        if own in (None, self.goal):
            return None
        return (
            f"Warning: the goal is to {self.goal} {self.name}, of which "
            f"{'less' if own == 'minimize' else 'more'} is better: what is called best here is the "
            f"worst (metric.goal: {own} turns it round)."
        )


def _number(given: Any) -> Any:
    """A finite number, whole or not as it was written."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError("wants a number")
    return given


Number = Annotated[int | float, BeforeValidator(_number)]


class Varied(Section):
    """The `values` that one parameter takes in turn, or the range that a search draws it from.

    `int` and `log_int` draw whole numbers, `log_uniform` and `log_int` each power of ten alike.
    Without `distribution` a range is `int` where both ends are written as whole numbers, else
    `uniform`. `q` is the step, counted from `min`.
    """

    values: Annotated[tuple[Any, ...], Field(min_length=1)] = ()
    min: Number | None = None
    max: Number | None = None
    distribution: Literal["uniform", "log_uniform", "int", "log_int"] | None = None
    q: Number | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        given = self.model_fields_set
        if "values" not in given and not given & {"min", "max"}:
            raise Wrong("values", "is missing; write values, or min and max")
        if "values" not in given:
            self._is_range()
        elif extra := [key for key in type(self).model_fields if key in given - {"values"}]:
            raise Wrong(extra[0], "has no place beside values; keep one of them")
        return self

    def _is_range(self) -> None:
        low, high = self.min, self.max
        if low is None or high is None:
            raise Wrong("min" if low is None else "max", "is missing; a range has two ends")
        if low >= high:
            raise Wrong("max", f"wants more than min {low}, got {high}")
        kind = self.distribution or "uniform"
        if kind.startswith("log") and low <= 0:
            raise Wrong("min", f"wants more than 0 for {kind}, got {low}")
        for key, end in (("min", low), ("max", high), ("q", self.q)):
            if kind.endswith("int") and isinstance(end, float):
                raise Wrong(key, f"wants a whole number for {kind}, got {end}")
        if self.q is not None and not 0 < self.q <= high - low:
            raise Wrong("q", f"wants a step above 0 and at most max - min, got {self.q}")


class SweepResources(Resources):
    """Where trials live: `max_concurrent` of them at a time, or as many as there is room for.

    Several share a GPU where `gpus_per_worker` is a fraction. `pack: auto` chooses that fraction,
    or `gib_per_worker` where trials have no GPU, by the most memory that trials of these shapes
    were measured to hold.
    """

    max_concurrent: PositiveInt | None = None
    pack: Literal["none", "auto"] = "none"


class EarlyTerminate(Section):
    """Stops points that fall behind, never on one seed alone.

    A point is judged at a rung once all its seeds have reached it, by the mean of its seeds.
    Rungs are at `min_epochs` times powers of `reduction_factor`. asha keeps the best
    1/`reduction_factor` of the points that reached a rung (Li et al. 2020); hyperband is asha in
    brackets that start at different rungs; median stops a point below the median of the others
    at the rung, after Golovin et al. 2017, who compare running means.
    """

    type: Literal["none", "asha", "hyperband", "median"] = "none"
    min_epochs: PositiveInt = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    min_points: Annotated[int, Field(ge=2)] = 3
    """As many points have to have reached a rung before any is stopped there."""


class Budget(Section):
    """When no new trial starts any more; those that run then are let to their end."""

    trials: PositiveInt | None = None
    cpu_hours: PositiveFloat | None = None
    gpu_hours: PositiveFloat | None = None
    wall_clock: Duration | None = None
    usd: PositiveFloat | None = None
    usd_per_gpu_hour: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.usd is not None and self.usd_per_gpu_hour is None:
            raise Wrong("usd", "is counted from usd_per_gpu_hour; write that price too")
        return self


class Claim(Section):
    """What a paper says of one parameter, as a direction that a sweep can bear out or not."""

    says: str
    parameter: str
    """Dotted key, one that the sweep varies."""
    metric: str | None = None
    """None: the metric of the sweep."""
    direction: Literal["increases", "decreases", "peak"]
    """How the metric goes; peak: best at a value inside the range, and worse at both ends."""


class Paper(Section):
    """The figure or table that a sweep answers, its values and its claims.

    `values` names points as trials do, without the seed (`V=128 l=2`), with the paper's numbers.
    """

    answers: str
    values: dict[str, float] = Field(default={})
    values_are: str = ""
    claims: tuple[Claim, ...] = ()


class SweepFile(Section):
    """All that a sweep file may say. The values themselves are checked point by point."""

    name: Annotated[str, AfterValidator(safe_name)]
    """What the sweep is called in the store: letters, digits, _ and -."""
    variant: Annotated[str, AfterValidator(safe_variant)] = ""
    """What `--set` made of the experiment, `epochs=6`: such a sweep is another one, and called so.

    `pg-sweep` writes it into the file that it keeps with the results.
    """
    question: str = ""
    """The question in words, for the report."""
    recipe: Any = "default"
    """The recipe from which the experiment differs."""
    method: Literal["grid", "random", "bayes", "points", "ladder"] = "grid"
    """How points are chosen: all combinations, by chance, by a search, named, or step by step."""
    samples: PositiveInt | None = None
    """How many points a random or bayes search takes, beside those in `include`."""
    search_seed: NonNegativeInt = 0
    """The seed of a random or bayes search."""
    metric: Metric
    parameters: dict[str, Varied] = Field(default={})
    """Dotted keys of the experiment, each with its values or the range that it is drawn from."""
    ladder: Any = ()
    """Changes one after another, for `method: ladder`: each point keeps those before it."""
    zip: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    """Groups of parameters whose values advance together."""
    exclude: tuple[str, ...] = ()
    """Expressions; a point where one holds is left out."""
    when: dict[str, str] = Field(default={})
    """A parameter is varied only where its expression holds, and has the base's value elsewhere."""
    include: tuple[dict[str, Any], ...] = ()
    """Points beside those of the method; all there are where the method is `points`."""
    seeds: Annotated[
        tuple[NonNegativeInt, ...],
        BeforeValidator(_seeds),
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = (0,)
    """A number n stands for the seeds 0 to n - 1."""
    baseline: dict[str, Any] | None = None
    """The point that others are compared with, by as many values as it takes to tell it apart.

    None: the first.
    """
    resources: SweepResources = SweepResources()
    early_terminate: EarlyTerminate = EarlyTerminate()
    budget: Budget = Budget()
    on_oom: Literal["infeasible", "micro_batch", "fail"] = "infeasible"
    """A point that runs out of memory is marked, tried again in smaller micro-batches, or fails."""
    max_failures: NonNegativeInt = 3
    """How often a trial whose process died is taken up again from its checkpoint."""
    max_failed_trials: PositiveInt | None = None
    """After so many failed trials no new one starts; None: they are all tried."""
    equal_failures: Annotated[int, Field(ge=2)] = 3
    """After so many trials with one and the same error no new one starts."""
    stall_after: Duration = 1800.0
    """A trial that reports nothing for so long is taken for hung and started again."""
    report: Literal["off", "tables", "full"] = "full"
    """What is written on the sweep's run; full: figures and the page too."""
    paper: Paper | None = None
    scales: dict[str, dict[str, Any]] = Field(default={})
    """Forms of the sweep by name: dotted keys of this file with their values there."""
    experiment: dict[str, Any] = Field(default={})
    """What all points share, as differences from the recipe."""
