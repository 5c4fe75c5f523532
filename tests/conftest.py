"""What many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from pg_platform.config.experiment import Experiment
from pg_platform.evaluation.trained import Trained, load_trained
from pg_platform.store.runs import TrialRuns
from pg_platform.store.store import Store
from pg_platform.training.loop import train
from pg_platform.training.worker import local_worker
from tests.results import ACCURACY
from tests.small import SMALL

# How long an example takes says how busy the machine is.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real store; each test takes an experiment of its own in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with Store.open(tmp_path_factory.mktemp("store")) as opened:
            yield opened


@pytest.fixture
def runs(store: Store, tmp_path: Path) -> TrialRuns:
    """Runs of trials that no test has had before."""
    return TrialRuns.of_single(store, tmp_path.name, ACCURACY, lambda trial: tmp_path / trial.id)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small game that has learnt digits, for evaluations."""
    digits = {"kind": "digits", "image_size": 16}
    experiment = Experiment.model_validate({**SMALL, "data": digits})
    folder = tmp_path_factory.mktemp("trained")
    place = local_worker(experiment.resources)
    train(experiment, folder, place=place, report=lambda _: None, should_stop=lambda: False)
    return load_trained(folder, torch.device("cpu"))
