"""What Tune tells of trials, in the orders that dying processes make: no Tune runs here."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from ray.tune.experiment import Trial as TuneTrial

from pg_platform.cluster.tune_callback import TuneCallback
from pg_platform.driver.scheduler import Waiting
from pg_platform.store.runs import TrialRuns
from tests.results import ACCURACY, rows, vocabularies
from tests.scheduling import scheduler, started


@pytest.mark.parametrize("error", [None, "FloatingPointError"])
def test_a_trial_whose_process_dies_after_its_last_word_stays_ended(
    runs: TrialRuns, error: str | None
) -> None:
    """Tune starts it again, since its function has not returned; it says the same once more."""
    (trial,) = trials = vocabularies([2], seeds=1)
    made = scheduler(runs, trials)
    callback = TuneCallback(made, lambda: None)
    segment = started(made)
    known = TuneTrial("trial", config={"trial_id": segment.trial.id, "segment": 1}, stub=True)
    told = {"rows": [asdict(row) for row in rows(ACCURACY.name, [0.25, 0.5])]}
    last = told | {"outcome": "failed" if error else "completed", "error": error}
    for _ in range(2):
        callback.on_trial_start(0, [known], known)
        callback.on_trial_result(0, [known], known, last)
    callback.on_trial_complete(0, [known], known)
    stored = runs.store.look(runs.ids[trial.id])
    assert stored.status == ("FAILED" if error else "FINISHED")
    assert made.next() is Waiting.FOR_NOTHING
    verdict = made.record.verdict
    assert (set(verdict.failed) if error else verdict.finished) == {trial.id}


def test_what_a_trial_warns_of_stands_with_its_run_and_on_the_screen(
    runs: TrialRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = vocabularies([2], seeds=1)
    made = scheduler(runs, trials)
    callback = TuneCallback(made, lambda: None)
    trial = started(made).trial
    known = TuneTrial("trial", config={"trial_id": trial.id, "segment": 1}, stub=True)
    callback.on_trial_result(0, [known], known, {"rows": [], "warning": "an older one is taken"})
    assert f"warning: {trial.name}: an older one is taken" in capsys.readouterr().out
    tags = runs.store.look(runs.ids[trial.id]).tags
    assert tags["pg.resumed_older"] == "an older one is taken"
