"""A Bayesian search: Optuna's TPE chooses points, and is told how they ended."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna

from pg_platform.sweep.schema import SweepFile
from pg_platform.sweep.search_space import Dimension, Space
from pg_platform.sweep.trials import Trial

_LEARNT_DRAWS = 100
"""How many draws of the sampler in a row may be excluded or known before others are tried."""
_OTHER_DRAWS = 1000
"""How many of those before the search ends; a space of no more points is gone through."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class PointSearch:
    """Multivariate TPE over a space (Bergstra et al. 2011), as many points as the file asks for.

    `trials_of` plans the trials of a point's values. Points that a call before has run are told
    first, so that the sampler starts from them.
    """

    def __init__(
        self,
        space: Space,
        rules: SweepFile,
        trials_of: Callable[[Mapping[str, Any]], list[Trial]],
        plan: list[Trial],
    ) -> None:
        """`plan` has the trials of points that are not asked for, and gets those that are."""
        assert rules.samples is not None, "a search says how many points it takes"
        self.space, self.rules, self.trials_of, self.plan = space, rules, trials_of, plan
        self.left = rules.samples
        self.known = {trial.id for trial in plan}
        self.before: dict[str, tuple[Mapping[str, Any], list[float]]] = {}
        self.open: dict[str, optuna.trial.Trial] = {}
        self.study: optuna.Study | None = None

    def replay(self, group: str, choice: Mapping[str, Any], values: Sequence[float]) -> None:
        """A point of an earlier call, before any is asked for; it is not asked for again.

        `choice` has a value for each dimension. Without `values` the point may be told of later.
        """
        assert self.study is None, "points of earlier calls come first"
        self.known.update(trial.id for trial in self.trials_of(choice))
        self.left -= 1
        self.before[group] = (choice, _finite(values))

    def ask(self) -> list[Trial]:
        """The trials of a point that is new; none once all points are taken."""
        if self.left <= 0:
            return []
        study = self._study()
        for _ in range(_LEARNT_DRAWS):
            asked = study.ask(self._distributions())
            if trials := self._new(self._choice(asked.params)):
                return self._opened(trials, asked)
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        for choice in self._others():
            if trials := self._new(choice):
                study.enqueue_trial(self._params(choice))
                return self._opened(trials, study.ask(self._distributions()))
        self.left = 0
        return []

    def tell(self, group: str, values: Sequence[float], *, pruned: bool) -> None:
        """How a point ended: by the mean of its seeds, as far as it came where it was pruned."""
        study = self._study()
        asked, values = self.open.pop(group, None), _finite(values)
        if asked is None:
            return
        if not values:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        elif pruned:
            asked.report(statistics.fmean(values), step=1)
            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(asked, statistics.fmean(values))

    def _new(self, choice: Mapping[str, Any]) -> list[Trial]:
        trials = self.trials_of(choice)
        return [] if any(trial.id in self.known for trial in trials) else trials

    def _opened(self, trials: list[Trial], asked: optuna.trial.Trial) -> list[Trial]:
        self.known.update(trial.id for trial in trials)
        self.open[trials[0].group] = asked
        self.left -= 1
        self.plan += trials
        return trials

    def _study(self) -> optuna.Study:
        """Made at the first need: equal seeds on a study with trials would repeat points."""
        if self.study is not None:
            return self.study
        seed = self.rules.search_seed + len(self.before)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self.study = optuna.create_study(direction=self.rules.metric.goal, sampler=sampler)
        for group, (choice, values) in self.before.items():
            self.study.enqueue_trial(self._params(choice))
            asked = self.study.ask(self._distributions())
            if values:
                self.study.tell(asked, statistics.fmean(values))
            else:
                self.open[group] = asked
        return self.study

    def _others(self) -> Iterator[dict[str, Any]]:
        """Choices that owe nothing to results: all of a small space, in any order, else draws."""
        source = random.Random(self.rules.search_seed + self.left)
        keys = [d.key for d in self.space.dimensions]
        counts = [d.count for d in self.space.dimensions]
        known = [count for count in counts if count is not None]
        if len(known) == len(counts) and math.prod(known) <= _OTHER_DRAWS:
            every = list(itertools.product(*(range(count) for count in known)))
            for indices in source.sample(every, len(every)):
                pairs = zip(self.space.dimensions, indices, strict=True)
                yield dict(zip(keys, (d.nth(index) for d, index in pairs), strict=True))
            return
        for _ in range(_OTHER_DRAWS):
            yield {d.key: d.draw(source) for d in self.space.dimensions}

    def _distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        return {d.key: _distribution(d) for d in self.space.dimensions}

    def _choice(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {d.key: _value(d, params[d.key]) for d in self.space.dimensions}

    def _params(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        return {
            d.key: choice[d.key] if _is_measured(d) else d.index(choice[d.key])
            for d in self.space.dimensions
        }


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _is_measured(d: Dimension) -> bool:
    """Whether Optuna gets the number itself: it has no steps on a logarithmic scale."""
    return d.range is not None and (d.range.log or d.range.count is None)


def _value(d: Dimension, param: float) -> Any:
    if _is_measured(d):
        assert d.range is not None
        return d.range.nearest(param)
    return d.nth(int(param))


def _distribution(d: Dimension) -> optuna.distributions.BaseDistribution:
    if d.range is None:  # by index: a value may be a section
        return optuna.distributions.CategoricalDistribution(range(len(d.values)))
    if d.range.count is not None and not d.range.log:
        return optuna.distributions.IntDistribution(0, d.range.count - 1)
    low, high, log = d.range.low, d.range.high, d.range.log
    if d.range.whole:
        return optuna.distributions.IntDistribution(int(low), int(high), log)
    return optuna.distributions.FloatDistribution(low, high, log)
