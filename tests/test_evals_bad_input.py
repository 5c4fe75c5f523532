"""Bad input of pg-eval: one error with place, value and remedy, exit 2, nothing in the store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from tests.spoilt import (
    Scene,
    Spoil,
    as_it_is,
    bank_file,
    bank_of_another_run,
    bank_of_another_split,
    bank_with_fewer_labels,
    checkpoint,
    data,
    no_tensors,
    six_classes,
    step_of,
    thousand_classes,
    two_runs,
    weights_of_another,
)

TEN = "class_index=[0,1,2,3,4,5,6,7,8,9]"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield two_runs(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def scene(shared: Scene) -> Scene:
    shared.mend()
    return shared


def _saliency(file: str, *more: str) -> tuple[str, ...]:
    weights = ("--weights", f"{{files}}/{file}")
    given = ("--set", "network=squeezenet1_1", *weights, *more)
    return ("saliency", "{id}", *given)


@dataclass(frozen=True)
class Case:
    """What is spoilt, what is asked, and the parts of the error: place, value and remedy."""

    spoil: Spoil
    arguments: tuple[str, ...]
    told: tuple[str, ...]


FORM = ("form", "{id}")
AGAIN = "take another checkpoint of this run"
ANEW = "delete the folder, and it is made anew"
DICT = "torch.save(network.state_dict(), FILE)"
CASES = {
    "weights missing": Case(
        as_it_is, _saliency("none", "--set", TEN), ("weights:", "none", "fetch the weights of")
    ),
    "weights not named": Case(as_it_is, ("saliency", "{id}"), ("--set", "weights", "missing")),
    "weights of six classes": Case(
        six_classes,
        _saliency("weights.safetensors", "--set", TEN),
        ("weights:", "(6, 512, 1, 1) and not (1000, 512, 1, 1)", "give the weights"),
    ),
    "ten classes of a thousand": Case(
        thousand_classes,
        _saliency("weights.safetensors"),
        ("class_index:", "1000 classes apart and the data have 10", "--set class_index="),
    ),
    **{
        f"no weights in {file}": Case(
            no_tensors, _saliency(file, "--set", TEN), ("weights:", file, DICT)
        )
        for file in ("weights.safetensors", "bytes.pth", "nested.pth", "list.pth", "network.pth")
    },
    **{
        f"empty split of {name}": Case(
            data(1e-9), (name, "{id}"), ("data: the val split", "1e-09", "larger")
        )
        for name in ("knn", "form", "success", "audit", "topsim_classes", "bag_of_words")
    },
    "classes of one image": Case(
        data(0.002),
        ("topsim_classes", "{id}"),
        ("per_class:", "the largest has 1", "a larger data.val_fraction"),
    ),
    "classes smaller than asked": Case(
        as_it_is,
        ("topsim_classes", "{id}", "--set", "per_class=999"),
        ("per_class:", "999", "try --set per_class="),
    ),
    "one class is drawn": Case(
        data(0.998), ("bag_of_words", "{id}"), ("data:", "train split", "needs more images")
    ),
    "two images for topsim": Case(
        data(0.0015), ("topsim", "{id}"), ("data:", "has 2 images", "more images")
    ),
    "a checkpoint cut short": Case(
        checkpoint("model.safetensors", None), FORM, ("model.safetensors:", "damaged", AGAIN)
    ),
    "a checkpoint cut short, of all": Case(
        checkpoint("model.safetensors", None), ("all", "{id}"), ("damaged", AGAIN)
    ),
    "the second trial's checkpoint cut short": Case(
        checkpoint("model.safetensors", None, trial=1), ("form", "pair"), ("damaged", AGAIN)
    ),
    "no experiment": Case(
        checkpoint("experiment.json", b"{"), FORM, ("experiment.json:", "JSON", AGAIN)
    ),
    "an experiment of other keys": Case(
        checkpoint("experiment.json", b'{"speeker": {}}'), FORM, ("speeker", AGAIN)
    ),
    "weights of another experiment": Case(
        weights_of_another, FORM, ("model.safetensors:", "(8, 16) and not (16, 16)", AGAIN)
    ),
    "no checkpoint": Case(
        lambda scene: shutil.rmtree(step_of(scene.runs[0])), FORM, ("no checkpoint", "step-*")
    ),
    "the bank of another run": Case(
        bank_of_another_run, FORM, ("banks/val-plain-", "made by weights", ANEW)
    ),
    "the bank of another split": Case(
        bank_of_another_split, FORM, ("banks/val-plain-", "another split", ANEW)
    ),
    "a bank of few labels": Case(
        bank_with_fewer_labels, ("meaning", "{id}"), ("banks/val-plain-", "'labels': 5", ANEW)
    ),
    "a bank without symbols": Case(
        bank_file("symbols.npy", None), FORM, ("banks/val-plain-", "no symbols.npy", ANEW)
    ),
    "a bank of other bytes": Case(
        bank_file("symbols.npy", b"bytes"), FORM, ("banks/val-plain-", "damaged", ANEW)
    ),
    "a bank of no manifest": Case(
        bank_file("bank.json", b"{}"), FORM, ("bank.json:", "damaged", ANEW)
    ),
    "unknown evaluation": Case(as_it_is, ("knm", "{id}"), ("no evaluation knm", "mean knn?")),
    "unknown option": Case(
        as_it_is,
        ("form", "{id}", "--set", "imagse=3"),
        ("--set imagse=3", "did you mean 'images'"),
    ),
    "an option that is no number": Case(
        as_it_is, ("form", "{id}", "--set", "images=many"), ("images", "wants a whole number")
    ),
    "unknown target": Case(as_it_is, ("form", "seven"), ("seven", "no run id", "no sweep")),
    "options of all": Case(as_it_is, ("all", "{id}", "--set", "k=1"), ("all takes no --set",)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_told_once_and_stores_nothing(scene: Scene, case: Case) -> None:
    case.spoil(scene)
    before = scene.held()
    done = scene.evaluate(*case.arguments)
    assert done.exit_code == 2, done.exception
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert [part for part in case.told if part not in done.stderr] == []
    assert scene.held() == before


def test_what_is_stored_of_good_input_would_be_seen(scene: Scene) -> None:
    before = scene.held()
    done = scene.evaluate(*FORM, "--set", "images=99")  # which no other call asks for
    assert done.exit_code == 0, done.stderr
    rows, files = scene.held()
    assert rows != before[0]
    assert files.keys() > before[1].keys()


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_that_is_not_there(scene: Scene) -> None:
    before = scene.held()
    done = scene.evaluate(*FORM, "--gpu")
    assert done.exit_code == 2
    assert "--gpu: torch finds no GPU here" in done.stderr
    assert scene.held() == before
