"""What trials will take: seconds, CPU-hours, GPU-hours and dollars, each with its bounds.

A forecast rests on runs of the same shape, or on a calibration of it. What was not measured is
not guessed: a shape that nothing is known of has no forecast.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from scipy.special import stdtrit

from pg_platform.config.experiment import Data, Experiment, Resources
from pg_platform.data.sizes import steps_in
from pg_platform.driver.speeds import Pace, chosen, described, pace_of
from pg_platform.report.statistics import CONFIDENCE
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.trials import shape

ONE_RUN_ERROR = 0.30
"""Relative half-width that a forecast from one measurement is given."""


PRIOR_DEGREES = 4
"""How many degrees of freedom `ONE_RUN_ERROR` is worth beside what several runs show."""


@dataclass(frozen=True)
class Interval:
    """An expected amount with the bounds of its 95 % interval."""

    low: float
    expected: float
    high: float

    def __add__(self, other: Interval) -> Interval:
        """Bounds add up: trials of one machine are fast or slow together."""
        return Interval(
            self.low + other.low, self.expected + other.expected, self.high + other.high
        )

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.expected * factor, self.high * factor)


NOTHING = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Cost:
    """What some trials take; `wall_s` on so many slots and `usd` are None where not known."""

    seconds: Interval
    cpu_hours: Interval
    gpu_hours: Interval
    wall_s: Interval | None
    usd: Interval | None


@dataclass
class Forecast:
    """Forecasts from measured `paces` by shape, the oldest first.

    `train_images` says how many images the training split of some data has.
    """

    paces: Mapping[str, Sequence[Pace]]
    train_images: Callable[[Data], int]
    _images: dict[Data, int] = field(default_factory=dict)
    _rates: dict[str, Interval | None] = field(default_factory=dict)

    def seconds(self, experiment: Experiment) -> Interval | None:
        """What one trial takes on its workers; None where no trial of its shape was measured."""
        rate = self._seconds_an_image(shape(experiment))
        return None if rate is None else rate * self.images(experiment)

    def images(self, experiment: Experiment) -> int:
        """How many images a trial trains on in all its epochs."""
        data = experiment.data
        if data not in self._images:
            self._images[data] = self.train_images(data)
        steps = steps_in(self._images[data], experiment)
        return steps * experiment.batch_size * experiment.epochs

    def basis(self, experiment: Experiment) -> str:
        """What a forecast rests on: `3 runs on cpu`; empty where there is none."""
        return described(chosen(self.paces.get(shape(experiment), ())))

    def unknown(self, experiments: Iterable[Experiment]) -> list[Experiment]:
        """One experiment of each shape that nothing is known of."""
        found: dict[str, Experiment] = {}
        for experiment in experiments:
            key = shape(experiment)
            if self._seconds_an_image(key) is None:
                found.setdefault(key, experiment)
        return list(found.values())

    def _seconds_an_image(self, key: str) -> Interval | None:
        if key not in self._rates:
            paces = chosen(self.paces.get(key, ()))
            self._rates[key] = predicted([1 / p.images_per_s for p in paces]) if paces else None
        return self._rates[key]

    @classmethod
    def of(
        cls,
        runs: Iterable[StoredRun],
        calibrations: Mapping[str, Sequence[Pace]],
        train_images: Callable[[Data], int],
    ) -> Self:
        """From the store's finished runs, the oldest first, and from calibrations."""
        paces = {key: list(some) for key, some in calibrations.items()}
        for run in runs:
            if (pace := pace_of(run)) is not None:
                paces.setdefault(run.tags["pg.shape"], []).append(pace)
        return cls(paces, train_images)


def predicted(values: Sequence[float]) -> Interval:
    """The mean of positive `values` with Student's 95 % interval of one more value.

    One value gets `ONE_RUN_ERROR`. That error also counts beside what several values show, as a
    conjugate prior of their relative variance with `PRIOR_DEGREES` degrees of freedom (Gelman et
    al., Bayesian Data Analysis, sec. 3.3): two runs that happen to agree promise no exact third.
    """
    n, mean = len(values), math.fsum(values) / len(values)
    squares = math.fsum((value / mean - 1) ** 2 for value in values)
    prior = ONE_RUN_ERROR / (_student(PRIOR_DEGREES) * math.sqrt(2))
    degrees = PRIOR_DEGREES + n - 1
    deviation = math.sqrt((PRIOR_DEGREES * prior**2 + squares) / degrees)
    half = _student(degrees) * deviation * math.sqrt(1 + 1 / n)
    return Interval(mean * max(0.0, 1 - half), mean, mean * (1 + half))


def cost_of(
    expected: Sequence[tuple[Resources, Interval]],
    *,
    slots: int | None,
    usd_per_gpu_hour: float | None,
) -> Cost:
    """The cost of trials by what they hold and for how many seconds, `slots` of them at a time."""
    cpu = gpu = NOTHING
    for resources, each in expected:
        cpus, gpus = _held(resources)
        cpu, gpu = cpu + each * (cpus / 3600), gpu + each * (gpus / 3600)
    seconds = [each for _, each in expected]
    return Cost(
        seconds=total(seconds),
        cpu_hours=cpu,
        gpu_hours=gpu,
        wall_s=None if slots is None else wall(seconds, slots),
        usd=None if usd_per_gpu_hour is None else gpu * usd_per_gpu_hour,
    )


def total(ranges: Iterable[Interval]) -> Interval:
    """Their sum."""
    return sum(ranges, NOTHING)


def wall(seconds: Sequence[Interval], slots: int) -> Interval:
    """Until the last trial ends, with the longest first and each on the first free slot."""
    bounds = [[each.low for each in seconds], [each.high for each in seconds]]
    low, high = (makespan(some, slots) for some in bounds)
    return Interval(low, makespan([each.expected for each in seconds], slots), high)


def makespan(seconds: Iterable[float], slots: int) -> float:
    """When the last of `slots` machines is done; the longest first (Graham 1969, LPT)."""
    assert slots >= 1, f"{slots} slots"
    ends = [0.0] * slots
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def slots_on(resources: Resources, cpus: int, memory_gib: float) -> int | None:
    """How many trials a machine of `cpus` cores and `memory_gib` holds at once.

    None where a trial does not fit, or wants a GPU, of which a planner without torch sees none.
    """
    wanted, gpus = _held(resources)
    held_gib = resources.workers * resources.gib_per_worker
    if gpus or wanted > cpus or held_gib > memory_gib:
        return None
    return min(cpus // wanted, int(memory_gib // held_gib) if held_gib else cpus)


def _held(resources: Resources) -> tuple[int, float]:
    """The CPU cores and GPUs that a trial holds while it runs."""
    workers = resources.workers
    return workers * resources.cpus_per_worker, workers * resources.gpus_per_worker


def _student(degrees: int) -> float:
    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def clock(seconds: float) -> str:
    """`0.4s`, `12s`, `3m 2s`, `5h 10m`, `2d 4h`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    first = next(i for i, (_, size) in enumerate(units) if whole >= size)
    told = []
    for name, size in units[first : first + 2]:
        count, whole = divmod(whole, size)
        told.append(f"{count}{name}")
    return " ".join(told)
