"""A Bayesian search: Optuna's TPE chooses points, and is told how they ended."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from pg_platform.config.plan import Trial
from pg_platform.config.space import Dimension, Space
from pg_platform.config.sweep_file import SweepFile

_MOST_DRAWS = 1000
"""How many draws in a row may be excluded or known before the search ends."""

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
        """`plan` gets the trials of each new point."""
        assert rules.samples is not None, "a search says how many points it takes"
        self.space, self.rules, self.trials_of, self.plan = space, rules, trials_of, plan
        self.left = rules.samples
        self.open: dict[str, optuna.trial.Trial] = {}
        self.known: set[str] = set()
        self.study: optuna.Study | None = None
        self.before: list[optuna.trial.FrozenTrial] = []

    def replay(self, group: str, choice: Mapping[str, Any], values: Sequence[float]) -> None:
        """A point of an earlier call; `choice` has a value for each dimension."""
        self.known.add(group)
        self.left -= 1
        if values:
            self.before.append(
                optuna.trial.create_trial(
                    params=self._params(choice),
                    distributions=self._distributions(),
                    value=statistics.fmean(values),
                )
            )

    def ask(self) -> list[Trial]:
        """The trials of a point that is new; none once all points are taken."""
        if self.left <= 0:
            return []
        study = self._study()
        for _ in range(_MOST_DRAWS):
            asked = study.ask(self._distributions())
            trials = self.trials_of(self._choice(asked.params))
            if trials and trials[0].group not in self.known:
                self.known.add(trials[0].group)
                self.open[trials[0].group] = asked
                self.left -= 1
                self.plan += trials
                return trials
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        self.left = 0
        return []

    def tell(self, group: str, values: Sequence[float], *, pruned: bool) -> None:
        """How a point ended: by the mean of its seeds, as far as it came where it was pruned."""
        asked = self.open.pop(group, None)
        if asked is None:
            return
        if not values:
            self._study().tell(asked, state=optuna.trial.TrialState.FAIL)
        elif pruned:
            asked.report(statistics.fmean(values), step=1)
            self._study().tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study().tell(asked, statistics.fmean(values))

    def _study(self) -> optuna.Study:
        """Made at the first question: equal seeds on a study with trials would repeat points."""
        if self.study is None:
            sampler = optuna.samplers.TPESampler(
                seed=self.rules.search_seed + len(self.before),
                multivariate=True,
                constant_liar=True,
                warn_independent_sampling=False,
            )
            self.study = optuna.create_study(direction=self.rules.metric.goal, sampler=sampler)
            self.study.add_trials(self.before)
        return self.study

    def _distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        return {d.key: _distribution(d) for d in self.space.dimensions}

    def _choice(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            d.key: params[d.key] if d.values is None else d.values[params[d.key]]
            for d in self.space.dimensions
        }

    def _params(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        return {
            d.key: choice[d.key] if d.values is None else d.values.index(choice[d.key])
            for d in self.space.dimensions
        }


def _distribution(d: Dimension) -> optuna.distributions.BaseDistribution:
    if d.values is not None:  # by index: a value may be a section
        return optuna.distributions.CategoricalDistribution(range(len(d.values)))
    assert d.low is not None, d.key
    assert d.high is not None, d.key
    if d.whole:
        step = 1 if d.log or d.step is None else int(d.step)
        return optuna.distributions.IntDistribution(int(d.low), int(d.high), d.log, step)
    return optuna.distributions.FloatDistribution(d.low, d.high, d.log, d.step)
