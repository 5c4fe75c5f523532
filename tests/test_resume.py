"""What a search is told of earlier calls."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pg_platform.driver.resume import StoredState
from pg_platform.store.runs import TrialRuns
from pg_platform.training.history import Outcome
from tests.results import ACCURACY, rows, vocabularies
from tests.scheduling import scheduler, started


@pytest.mark.parametrize(("measure", "told"), [("", 0.6), (":area", 0.5), (":epochs_to:0.6", 2.0)])
def test_a_search_is_told_of_points_whose_seeds_have_all_ended(
    runs: TrialRuns, measure: str, told: float
) -> None:
    """Of the second point a seed was given up, of the third one goes on."""
    trials = [replace(t, choice=dict(t.point)) for t in vocabularies([2, 4, 8], seeds=2)]
    included = vocabularies([16], seeds=2)
    made = scheduler(runs, [*trials, *included])
    for trial in (*trials, *included):
        started(made)
        made.rows(trial, rows(ACCURACY.name, [0.4, 0.6]))
        made.end(trial, Outcome.COMPLETED)
    runs.store.flush()
    runs.metric = ACCURACY.model_copy(update={"name": ACCURACY.name + measure})
    done = {t.id: runs.store.look(runs.ids[t.id]) for t in (*trials, *included)}
    given_up = {trials[3].id}
    finished = {i: run for i, run in done.items() if i not in {trials[3].id, trials[5].id}}
    standing = StoredState(runs, [*trials, *included], finished, given_up)
    found = standing.searched()
    assert {group: choice for group, (choice, _) in found.items()} == {
        trial.group: trial.choice for trial in trials
    }
    assert [values for _, values in found.values()] == [[told, told], [told], []]
