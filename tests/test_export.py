"""What is exported works where this platform is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from evals.export import Options, evaluate, torchvision_misfit
from pg_platform.data.images import open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.evaluation.trained import Trained
from pg_platform.language.elcc import variant_name
from tests.agents import agents
from tests.methods import METHODS

STRANGER = """
import sys
sys.modules["pg_platform"] = sys.modules["evals"] = None
import torch
from torch import nn
from pathlib import Path
folder = Path(sys.argv[1])
images = torch.load(folder / "images.pt")
speaker = torch.export.load(folder / "speaker.pt2").module()
told = [speaker(images), speaker(images[:1])]
if (folder / "vision.safetensors").exists():
    from safetensors.torch import load_file
    from torchvision.models import resnet18
    network = resnet18(weights=None)
    network.fc = nn.Identity()
    network.load_state_dict(load_file(folder / "vision.safetensors"), strict=True)
    told.append(network.eval()(images).detach())
torch.save(told, folder / "told.pt")
"""
PHOTOS = {
    "data": {"kind": "shapes", "image_size": 96, "count": 40, "val_fraction": 0.3},
    "speaker": {"patch_size": 32},
    "listener": {"vision": {"width": 64}},
    "batch_size": 8,
    "validation": {"pool_size": 4},
}


def told(run: Trained, folder: Path) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Images, and what another interpreter makes of them with the export in `folder`."""
    evaluate(run, Options(to=str(folder)))
    (made,) = (folder / "agents").iterdir()
    assert made.name == variant_name(run.experiment, run.path, "val")
    folder = made
    side = run.experiment.data.image_size
    images = torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.save(images, folder / "images.pt")
    command = [sys.executable, "-c", STRANGER, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return images, torch.load(folder / "told.pt")


def test_speaker_and_vision_network_work_without_the_platform(tmp_path: Path) -> None:
    run = agents(PHOTOS, tmp_path / "untrained")
    images, (spoken, first, features) = told(run, tmp_path / "export")
    played = run.game.play((images, images))
    assert torch.equal(spoken[0], played.ids)
    assert torch.equal(spoken[1] >= 0.5, played.gate)
    assert torch.allclose(spoken[2], played.importance, atol=1e-5)
    assert torch.equal(first[0], played.ids[:1])
    with torch.no_grad():
        assert torch.allclose(features, run.method.features(images), atol=1e-4)


@pytest.mark.parametrize(
    "name", ["vit symbols", "soft gate", "top-k gate", "all patches", "random patches"]
)
def test_every_kind_of_speaker_is_a_program(name: str, tmp_path: Path) -> None:
    found = evaluate(agents(METHODS[name], tmp_path), Options())
    assert found.metrics["export/speaker_disagreement"] == 0
    assert sum(path.endswith("/speaker.pt2") for path in found.files) == 1


def test_the_corpus_has_the_sent_symbols_of_every_image(tmp_path: Path) -> None:
    run = agents({"speaker": {"symbols_per_patch": 2}}, tmp_path)
    found = evaluate(run, Options())
    folder = f"systems/patchgame/data/{variant_name(run.experiment, run.path, 'val')}"
    corpus = found.files[f"{folder}/corpus.jsonl"].decode()
    lines = [json.loads(line) for line in corpus.splitlines()]
    images = open_images(run.experiment.data, "val")
    wanted = []
    for pixels, _ in plain_batches(images, run.experiment, run.device):
        played = run.game.play((pixels, pixels))
        for ids, gate in zip(played.ids, played.gate, strict=True):
            wanted.append(
                [int(i) for patch, on in zip(ids, gate, strict=True) if on for i in patch]
            )
    assert lines == wanted
    metadata = json.loads(found.files[f"{folder}/metadata.json"])
    assert metadata["messages"] == len(lines) == found.metrics["export/messages"]
    assert metadata["tokens"] == sum(map(len, lines))


@pytest.mark.parametrize(
    ("changes", "told_why"),
    [
        ({}, "its first stage has 4 channels"),
        ({"listener": {"vision": {"width": 64}}}, "images of 16 px"),
        (METHODS["vit vision"], "a vit is no ResNet"),
    ],
)
def test_a_network_that_torchvision_lacks_is_left_out(
    changes: dict[str, object], told_why: str
) -> None:
    misfit = torchvision_misfit(agents(changes).experiment)
    assert misfit is not None
    assert told_why in misfit


def test_exports_of_several_runs_make_one_collection(tmp_path: Path) -> None:
    """Each variant stands in the system's files; one that is exported again stands there once."""
    one = agents({}, tmp_path / "one")
    other = agents({"speaker": {"vocab_size": 5}}, tmp_path / "other")
    to = tmp_path / "collection"
    for run in (one, other, one):
        evaluate(run, Options(to=str(to)))
    variants = {variant_name(run.experiment, run.path, "val") for run in (one, other)}
    assert len(variants) == 2
    system = to / "systems" / "patchgame"
    assert {folder.name for folder in (system / "data").iterdir()} == variants
    told = json.loads((system / "system.json").read_text())
    assert told == yaml.safe_load((system / "metadata.yml").read_text())
    assert set(told["system"]["variants"]) == variants
    sizes = {config["vocab_size"] for config in told["system"]["variants"].values()}
    assert sizes == {one.experiment.speaker.vocab_size, 5}


def test_a_run_holds_what_a_folder_gets(tmp_path: Path) -> None:
    to = tmp_path / "collection"
    found = evaluate(agents({}, tmp_path / "run"), Options(to=str(to)))
    written = {
        str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()
    }
    assert written == found.files


def test_generated_shapes_are_a_system_of_their_own(tmp_path: Path) -> None:
    shapes = {"data": {"kind": "shapes", "image_size": 16, "count": 40, "val_fraction": 0.3}}
    found = evaluate(agents(shapes, tmp_path), Options())
    told = json.loads(found.files["systems/patchgame-shapes/system.json"])
    assert told["system"]["data_source"] == "synthetic"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    to = tmp_path / "collection"
    strange = to / "systems/patchgame/data/theirs/metadata.json"
    strange.parent.mkdir(parents=True)
    strange.write_text("{}")
    with pytest.raises(ValueError, match=r"theirs/metadata.json was not written by this export"):
        evaluate(agents({}, tmp_path / "run"), Options(to=str(to)))
    assert [path for path in to.rglob("*") if path.is_file()] == [strange]


def test_the_two_splits_of_a_run_are_two_variants(tmp_path: Path) -> None:
    to, run = tmp_path / "collection", agents({}, tmp_path / "run")
    for split in ("val", "train"):
        evaluate(run, Options(split=split, to=str(to)))
    assert len(list((to / "systems/patchgame/data").iterdir())) == 2
