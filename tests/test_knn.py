"""k-NN: exact in chunks, equal to a sort and to lightly's, with ties settled by position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.utils.benchmarking import knn_predict  # type: ignore[import-untyped]
from torch import Tensor

from evals.knn import Options, knn_votes, nearest


def eighths(seed: int, *shape: int) -> Tensor:
    """Numbers whose products and sums are exact, so that ties are ties in any order of sums."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator) / 8


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 40),
    k=st.integers(1, 40),
    bank_chunk=st.integers(1, 50),
)
def test_chunks_find_what_a_stable_sort_of_everything_finds(
    seed: int, size: int, k: int, bank_chunk: int
) -> None:
    k = min(k, size)
    bank, queries = eighths(seed, size, 3), eighths(seed + 1, 5, 3)
    similarity, position = nearest(queries, bank, Options(k=k, bank_chunk=bank_chunk))
    everything = queries @ bank.T
    wanted = everything.argsort(dim=1, descending=True, stable=True)[:, :k].sort(dim=1).values
    assert position.equal(wanted)
    assert similarity.equal(everything.gather(1, wanted))


@pytest.mark.parametrize("bank_chunk", [1, 37, 500, 1000])
def test_predictions_equal_those_of_lightly(bank_chunk: int) -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.nn.functional.normalize(torch.randn(600, 16, generator=generator), dim=1)
    bank, queries = features[:500], features[500:]
    labels = torch.randint(0, 7, (500,), generator=generator)
    options = Options(k=200, temperature=0.1, bank_chunk=bank_chunk)
    votes = knn_votes(queries, bank, labels, classes=7, options=options)
    theirs = knn_predict(queries, bank.T, labels, num_classes=7, knn_k=200, knn_t=0.1)
    assert votes.argsort(dim=1, descending=True).equal(theirs)


def test_a_class_may_have_one_image() -> None:
    bank = torch.eye(3)
    options = Options(k=1)
    votes = knn_votes(bank, bank, torch.tensor([0, 1, 2]), classes=4, options=options)
    assert votes.argmax(dim=1).tolist() == [0, 1, 2]
    assert votes[:, 3].tolist() == [0, 0, 0]
