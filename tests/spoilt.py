"""A store with two finished runs of a sweep, and ways to spoil what an evaluation reads of them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torchvision import models

from pg_platform.cli.evaluate import evaluate
from pg_platform.config.experiment import Experiment
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.trained import load_trained
from pg_platform.store.store import Store
from pg_platform.sweep.load import Metric
from pg_platform.training.loop import train
from pg_platform.training.worker import local_worker
from tests.agents import DIGITS
from tests.small import SMALL

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Scene:
    """A store with finished trials of two seeds, and a folder for files of the user."""

    home: Path
    runs: Sequence[Path]
    ids: Sequence[str]
    files: Path

    def held(self) -> tuple[list[str], dict[str, bytes]]:
        """All rows of the store, and all its files."""
        with closing(sqlite3.connect(self.home / "mlflow.db")) as database:
            rows = list(database.iterdump())
        files = [path for path in (self.home / "artifacts").rglob("*") if path.is_file()]
        return rows, {str(path): path.read_bytes() for path in files}

    def evaluate(self, *arguments: str) -> Result:
        """pg-eval with these arguments: {run} and {id} are the first trial's."""
        places = {"run": str(self.runs[0]), "id": self.ids[0], "files": str(self.files)}
        given = [a if a.startswith("class_index") else a.format(**places) for a in arguments]
        return CliRunner().invoke(evaluate, given, env={"PG_HOME": str(self.home)})

    def mend(self) -> None:
        """Everything as it was before anything was spoilt."""
        shutil.rmtree(self.files)
        self.files.mkdir()
        for run in self.runs:
            shutil.rmtree(run)
            shutil.copytree(_whole(run), run)


def two_runs(folder: Path, epochs: int = 1) -> Scene:
    """Train two seeds of a small game on digits, and enter them as a sweep, `pair`."""
    home, files = folder / "home", folder / "files"
    files.mkdir()
    runs, ids = [folder / "seed0", folder / "seed1"], []
    with Store.open(home) as store:
        metric = Metric(name="val/top1_pool64", goal="maximize")
        experiment = store.experiment("pair", metric)
        parent = store.run(experiment, "pair", "pair", tags={"pg.kind": "sweep"})
        for seed, run in enumerate(runs):
            small = {**SMALL, "data": DIGITS, "epochs": epochs, "seed": seed}
            chosen = Experiment.model_validate(small)
            place = local_worker(chosen.resources)
            train(chosen, run, place=place, report=lambda _: None, should_stop=lambda: False)
            shutil.copytree(run, _whole(run))
            tags = {"pg.kind": "trial", "pg.sweep": "pair", "pg.checkpoints": str(run)}
            ids.append(store.run(experiment, str(seed), f"seed={seed}", parent=parent, tags=tags))
            store.finish(ids[-1], "FINISHED", "completed")
    return Scene(home, runs, ids, files)


def _whole(run: Path) -> Path:
    return run.with_suffix(".whole")


Spoil = Callable[[Scene], object]


def as_it_is(_: Scene) -> None:
    """Nothing is wrong but what is asked."""


def step_of(folder: Path) -> Path:
    return next(folder.glob("step-*"))


def unsealed(step: Path) -> Path:
    """The checkpoint as a version wrote it that kept no hashes."""
    (step / "manifest.json").unlink(missing_ok=True)
    progress = json.loads((step / "progress.json").read_text())
    progress.pop("hashed", None)
    (step / "progress.json").write_text(json.dumps(progress))
    return step


def data(val_fraction: float) -> Spoil:
    """Another share of the images in validation: 1797 digits, of which a few or none are left."""

    def spoil(scene: Scene) -> None:
        file = unsealed(step_of(scene.runs[0])) / "experiment.json"
        experiment = json.loads(file.read_text())
        experiment["data"]["val_fraction"] = val_fraction
        file.write_text(json.dumps(experiment))

    return spoil


def checkpoint(name: str, content: bytes | None, trial: int = 0) -> Spoil:
    """A file of the checkpoint with other content, or cut in the middle and found by its hash."""

    def spoil(scene: Scene) -> None:
        step = step_of(scene.runs[trial])
        file = (step if content is None else unsealed(step)) / name
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if content is None else content)

    return spoil


def weights_of_another(scene: Scene) -> None:
    file = unsealed(step_of(scene.runs[0])) / "experiment.json"
    file.write_text(file.read_text().replace('"vocab_size": 8', '"vocab_size": 16'))


def _bank(scene: Scene) -> Path:
    return open_bank(load_trained(scene.runs[0], CPU), "val").folder


def bank_of_another_run(scene: Scene) -> None:
    folder = _bank(scene)
    shutil.rmtree(folder)
    shutil.copytree(open_bank(load_trained(scene.runs[1], CPU), "val").folder, folder)


def bank_of_another_split(scene: Scene) -> None:
    folder = _bank(scene)
    shutil.rmtree(folder)
    shutil.copytree(open_bank(load_trained(scene.runs[0], CPU), "train").folder, folder)


def bank_with_fewer_labels(scene: Scene) -> None:
    file = _bank(scene) / "labels.npy"
    np.save(file, np.load(file)[:5])


def bank_file(name: str, content: bytes | None) -> Spoil:
    """A file of the bank with other content, or none."""

    def spoil(scene: Scene) -> None:
        file = _bank(scene) / name
        file.unlink()
        if content is not None:
            file.write_bytes(content)

    return spoil


def six_classes(scene: Scene) -> None:
    network = models.squeezenet1_1(weights=None, num_classes=6)
    save_file(network.state_dict(), scene.files / "weights.safetensors")


def thousand_classes(scene: Scene) -> None:
    save_file(models.squeezenet1_1(weights=None).state_dict(), scene.files / "weights.safetensors")


def no_tensors(scene: Scene) -> None:
    (scene.files / "weights.safetensors").write_bytes(b"{}")
    (scene.files / "bytes.pth").write_bytes(b"hello")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, scene.files / "nested.pth")
    torch.save([1, 2], scene.files / "list.pth")
    torch.save(models.squeezenet1_1(weights=None), scene.files / "network.pth")
