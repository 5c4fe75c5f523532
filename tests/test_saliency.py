"""XGradCAM from its formula, and numbers of agreement on cases that can be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from evals.saliency import Options, agreement, evaluate, mass_area, xgradcam
from pg_platform.evaluation.trained import Trained
from pg_platform.probes.pretrained import load_given

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "weights"
FILES = {
    "mobilenet_v2": WEIGHTS / "mobilenet_v2_tv_int8dequant_fp16.safetensors",
    "squeezenet1_1": WEIGHTS / "squeezenet1_1_caffe_fp16.safetensors",
}


def seeded(name: str) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network: torch.nn.Module = models.get_model(name, weights=None, num_classes=6)
        return network.eval()


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "squeezenet1_1"])
def test_the_logits_are_those_of_the_network(name: str) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network = seeded(name)
    maps, logits = xgradcam(network, pixels, torch.tensor([0, 5]))
    assert logits == pytest.approx(network(pixels).detach(), abs=1e-5)
    assert bool((maps >= 0).all())


def test_after_average_pooling_the_map_weighs_channels_by_the_head() -> None:
    """There dy/dA is the head's weight over the area, so the weight is that for every channel."""
    network = seeded("mobilenet_v2")
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    maps, _ = xgradcam(network, pixels, torch.tensor([4]))
    features = network.get_submodule("features")(pixels)[0]
    weight = network.get_submodule("classifier").get_parameter("1.weight")[4]
    wanted = torch.einsum("c,chw->hw", weight, features).relu() / features[0].numel()
    assert maps[0].detach() == pytest.approx(wanted.detach(), rel=1e-3, abs=1e-7)


def test_ranks_that_follow_the_map_agree_with_it() -> None:
    maps = torch.rand(6, 16, generator=torch.Generator().manual_seed(2))
    same, opposite = agreement(maps, maps), agreement(-maps, maps)
    assert same["spearman"] == pytest.approx(1)
    assert opposite["spearman"] == pytest.approx(-1)
    assert (same["pointing"], opposite["pointing"]) == (1, 0)
    assert same["area"] + opposite["area"] == pytest.approx(1)


def test_the_area_of_one_bright_patch() -> None:
    maps = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    first, last = torch.tensor([[1.0, 2, 3, 0]]), torch.tensor([[1.0, 2, 0, 3]])
    assert mass_area(first, maps) == pytest.approx(1 - 0.5 / 4)
    assert mass_area(last, maps) == pytest.approx(0.5 / 4)


def test_the_same_for_the_same_run(trained: Trained, tmp_path: Path) -> None:
    file = tmp_path / "squeeze.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(models.squeezenet1_1(weights=None).state_dict(), file)
    options = Options(
        weights=str(file), network="squeezenet1_1", class_index=tuple(range(10)), images=6, drawn=3
    )
    found = evaluate(trained, options)
    assert found.metrics == evaluate(trained, options).metrics
    assert all(name.startswith("saliency/") for name in found.metrics)
    with pytest.raises(ValueError, match="fetch the weights of resnet50"):
        evaluate(trained, Options(weights=str(tmp_path / "none"), class_index=tuple(range(10))))


@pytest.mark.parametrize("name", FILES)
def test_weights_of_imagenet_fit(name: str) -> None:
    if not FILES[name].is_file():
        pytest.skip(f"{FILES[name]} is not here")
    network = load_given(models.get_model(name, weights=None), str(FILES[name]), name)
    grey = torch.zeros(1, 3, 224, 224)
    label = network(grey).argmax(dim=1)
    maps, logits = xgradcam(network, grey, label)
    assert logits.argmax(dim=1).equal(label)
    assert bool(maps.isfinite().all())
    assert maps.max() > 0
