"""What version a6b1c03 left is what this one finds: ids of trials, and a store that is finished."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pg_platform.driver.driver import run_sweep
from pg_platform.driver.local import LocalExecutor
from pg_platform.store.store import Store
from pg_platform.sweep.load import load_sweep
from pg_platform.sweep.trials import plan

EARLIER = Path(__file__).parent / "data" / "a6b1c03"


@pytest.mark.parametrize("name", ["recipe_bridge", "smoke"])
def test_ids_of_trials_are_those_of_before(name: str) -> None:
    """Its sweep files, and the ids that it gave to images of the identity data-0."""
    wanted = json.loads((EARLIER / "trial_ids.json").read_text())[name]
    sweep = load_sweep(EARLIER / f"{name}.yaml", ())
    assert [trial.id for trial in plan(sweep, lambda _: "data-0")] == wanted


def test_a_store_of_before_is_found_finished(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mlflow.db").write_bytes(gzip.decompress((EARLIER / "mlflow.db.gz").read_bytes()))
    with Store.open(home) as store:
        result = run_sweep(load_sweep(EARLIER / "old.yaml", ()), home, store, LocalExecutor(home))
    assert not result.verdict.finished, "nothing finished runs twice"
    assert list(result.standing.told.values()) == ["reused", "reused"]
    assert not list((home / "trials").glob("*/step-*"))
