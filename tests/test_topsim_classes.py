"""Topographic similarity per class: its parts on cases that can be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import pearsonr

from evals.topsim_classes import Options, evaluate, jaccard, pearson
from pg_platform.evaluation.trained import Trained

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "weights"
SQUEEZE = WEIGHTS / "squeezenet1_1_caffe_fp16.safetensors"


def test_jaccard_is_common_over_all() -> None:
    said = [frozenset({1, 2}), frozenset({2, 3}), frozenset({4}), frozenset[int]()]
    found = jaccard(said)
    assert found[0].tolist() == [1, pytest.approx(1 / 3), 0, 0]
    assert found[3, 3] == 1
    assert found.equal(found.T)


@given(st.integers(0, 2**31))
def test_pearson_equals_that_of_scipy(seed: int) -> None:
    a, b = torch.randn(2, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert pearson(a, b) == pytest.approx(pearsonr(a.numpy(), b.numpy()).statistic)


def test_a_distance_and_its_weights_come_together() -> None:
    with pytest.raises(ValidationError, match="lpips_vgg wants"):
        Options(distance="lpips_vgg")
    with pytest.raises(ValidationError, match="own_features wants no weights"):
        Options(weights="file")


def test_classes_that_are_too_small_are_counted_and_all_of_them_refused(trained: Trained) -> None:
    found = evaluate(trained, Options(permutations=9)).metrics
    assert found["topsim_classes/classes_own_features_n10"] > 0
    assert 0.1 <= found["topsim_classes/p_own_features_n10"] <= 1
    with pytest.raises(ValueError, match="no class of the validation split has 999 images"):
        evaluate(trained, Options(per_class=999))


def test_the_squeezenet_distance_is_named_as_uncalibrated(trained: Trained) -> None:
    if not SQUEEZE.is_file():
        pytest.skip(f"{SQUEEZE} is not here")
    options = Options(
        distance="squeeze_uncalibrated", weights=str(SQUEEZE), per_class=3, permutations=9
    )
    found = evaluate(trained, options).metrics
    assert "topsim_classes/pearson_mean_squeeze_uncalibrated_n3" in found


def test_missing_weights_are_named(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fetch the weights of vgg16"):
        evaluate(trained, Options(distance="lpips_vgg", weights=str(tmp_path / "none")))
