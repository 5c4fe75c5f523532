"""A ViT on some of the patches."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from evals.patch_subset import Options, area, cls_attention, evaluate, keep
from pg_platform.evaluation.messages import resampled
from pg_platform.evaluation.trained import Trained
from pg_platform.probes.pretrained import check_classes, load_given


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = VisionTransformer(
            img_size=32,
            patch_size=8,
            num_classes=5,
            embed_dim=32,
            depth=2,
            num_heads=2,
            reg_tokens=1,
        )
        assert made.cls_token is not None
        torch.nn.init.normal_(made.cls_token)
        return made.eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_all_patches_in_any_order_are_the_network_itself(
    vit: VisionTransformer, pixels: torch.Tensor
) -> None:
    every = torch.randperm(16, generator=torch.Generator().manual_seed(2)).expand(3, -1)
    assert keep(vit, pixels, every).equal(vit(pixels))


@torch.no_grad()
def test_a_patch_that_is_not_kept_changes_nothing(
    vit: VisionTransformer, pixels: torch.Tensor
) -> None:
    kept = torch.tensor([[0, 5, 15]]).expand(3, -1)
    other = pixels.clone()
    other[:, :, 0:8, 8:16] += 1  # patch 1
    assert keep(vit, other, kept).equal(keep(vit, pixels, kept))
    other[:, :, 8:16, 8:16] += 1  # patch 5
    assert not keep(vit, other, kept).equal(keep(vit, pixels, kept))


@torch.no_grad()
def test_attention_is_measured_and_the_network_left_as_it_was(
    vit: VisionTransformer, pixels: torch.Tensor
) -> None:
    before = vit(pixels)
    weights = cls_attention(vit, pixels)
    assert weights.shape == (3, 16)
    assert bool((weights > 0).all() and (weights.sum(dim=1) < 1).all())
    assert vit(pixels).equal(before)


def test_ranks_are_averaged_by_area() -> None:
    ranks = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert resampled(ranks, 1).tolist() == [[1.5]]
    halves = resampled(ranks, 3)[0].view(3, 3)
    assert halves[0].tolist() == pytest.approx([0, 0.5, 1])
    assert halves[1, 1].item() == pytest.approx(1.5)
    assert resampled(ranks, 4)[0].view(4, 4)[3].tolist() == pytest.approx([2, 2, 3, 3])


def test_the_area_of_a_line_is_its_mean() -> None:
    assert area([1, 2, 5], [0.0, 0.25, 1.0]) == pytest.approx(0.5)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"no file .*fetch the weights of x"):
        load_given(net, str(tmp_path / "none"), "x")
    save_file({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="does not fit x"):
        load_given(net, str(tmp_path / "w.safetensors"), "x")
    half = {"weight": torch.ones(2, 2).half(), "bias": torch.zeros(2).half()}
    torch.save(half, tmp_path / "w.pt")
    loaded = load_given(net, str(tmp_path / "w.pt"), "x").state_dict()
    assert loaded["weight"].dtype == torch.float32
    assert loaded["weight"].tolist() == [[1, 1], [1, 1]]


def test_classes_are_named_where_they_differ() -> None:
    assert check_classes(3, (), 3).tolist() == [0, 1, 2]
    assert check_classes(1000, (5, 999), 2).tolist() == [5, 999]
    for wrong in ((), (5,), (5, 1000)):
        with pytest.raises(ValueError, match=r"1000 classes .* the data have 2"):
            check_classes(1000, wrong, 2)


def test_a_timm_vit_is_given_by_its_weights(trained: Trained, tmp_path: Path) -> None:
    model = "vit_tiny_patch16_224"
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model(model).state_dict(), file)
    options = Options(
        weights=str(file), model=model, class_index=tuple(range(10)), images=4, points=2
    )
    found = evaluate(trained, options)
    assert found.tables["fig4"].rows[-1][0] == 196
    assert len({*found.tables["fig4"].rows[-1][1:]}) == 1  # all patches, however chosen
