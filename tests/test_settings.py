"""Which runs were made with the settings that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pg_platform.config.experiment import Data, ImageFolder
from pg_platform.store.runs import flat
from pg_platform.store.settings import refuse_other_settings, stored_identity
from pg_platform.store.stored_run import StoredRun
from pg_platform.sweep.load import load_sweep
from pg_platform.sweep.trials import Trial, plan
from tests.results import stored

TEXT = "name: s\nparameters: {{{parameters}}}\nexperiment: {{epochs: {epochs}}}\n"


def planned(folder: Path, parameters: str, epochs: int = 3, data: str = "d1") -> list[Trial]:
    """The trials of a sweep of two seeds."""
    file = folder / "s.yaml"
    file.write_text(TEXT.format(parameters=parameters, epochs=epochs))
    return list(plan(load_sweep(file, ["seeds=2"]), lambda _: data))


def run_of(trial: Trial) -> StoredRun:
    """The run that a trial left."""
    params = flat(trial.experiment.model_dump(mode="json")) | flat(trial.point)
    tags = {"pg.trial_id": trial.id, "pg.group": trial.group, "pg.data": trial.data_hash}
    return replace(stored({}), name=trial.name, params=params, tags=tags)


V = "speaker.vocab_size: {values: [2, 8]}"
WIDER = "speaker.vocab_size: {values: [16, 32]}"
RATES = "optimizer.lr: {values: [1e-3, 1e-4]}"


@pytest.mark.parametrize("parameters", [V, WIDER, f"{V}, {RATES}", RATES])
def test_other_points_of_one_experiment_are_one_sweep(tmp_path: Path, parameters: str) -> None:
    runs = [run_of(trial) for trial in planned(tmp_path, V)]
    refuse_other_settings("s", runs, planned(tmp_path, parameters))
    back = [run_of(trial) for trial in planned(tmp_path, parameters)]
    refuse_other_settings("s", back, planned(tmp_path, V))


@pytest.mark.parametrize("parameters", [V, WIDER, f"{V}, {RATES}"])
def test_another_experiment_is_refused_whatever_its_points(tmp_path: Path, parameters: str) -> None:
    runs = [run_of(trial) for trial in planned(tmp_path, V)]
    with pytest.raises(ValueError, match=r"the sweep s has 4 runs .* epochs is 3 there and 5 here"):
        refuse_other_settings("s", runs, planned(tmp_path, parameters, epochs=5))


def test_a_key_that_older_runs_lack_tells_nothing(tmp_path: Path) -> None:
    trials = planned(tmp_path, V)
    runs = [run_of(trial) for trial in trials]
    for run in runs:
        del run.params["epochs"]
    refuse_other_settings("s", runs, planned(tmp_path, WIDER, epochs=5))


def test_other_images_and_another_version_are_told(tmp_path: Path) -> None:
    trials = planned(tmp_path, V)
    other = [run_of(trial) for trial in planned(tmp_path, V, data="d2")]
    with pytest.raises(ValueError, match=r"the images are others \(d2 there, d1 here\)"):
        refuse_other_settings("s", other, trials)
    renewed = [run_of(replace(trial, id=f"{trial.id}0")) for trial in trials]
    with pytest.raises(ValueError, match="an earlier version of the package"):
        refuse_other_settings("s", renewed, trials)


def test_data_are_what_they_were_when_the_runs_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older runs have their path as it was written, from the folder where the command ran."""
    monkeypatch.chdir(tmp_path)
    images = ImageFolder(kind="image_folder", path=str(tmp_path / "photos"))

    def made(path: str, found: str) -> StoredRun:
        params = flat(images.model_dump(mode="json"), "data.") | {"data.path": path}
        return replace(stored({}), params=params, tags={"pg.data": found})

    asked: list[Any] = []

    def identity(data: Data) -> str:
        asked.append(data)
        return "from disk"

    known: Callable[[Data], str] = stored_identity(
        [made("photos", "old"), made(images.path, "new"), made("elsewhere", "other")], identity
    )
    assert known(images) == "new"
    assert stored_identity([made("photos", "old")], identity)(images) == "old"
    assert asked == []
    moved = images.model_copy(update={"path": str(tmp_path / "moved")})
    assert known(moved) == "from disk"
    assert asked == [moved]
