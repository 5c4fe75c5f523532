"""The numbers beside the figures of the paper, on cases that can be seen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from evals.heat_maps import distance_from_middle, explained_by_place
from evals.symbols import variance_between, within_over_between
from pg_platform.evaluation.messages import place_shares


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=20))
def test_places_are_scaled_ranks(values: list[int]) -> None:
    wanted = (rankdata(values) - 1) / (len(values) - 1)
    assert place_shares(torch.tensor([values]).float())[0].tolist() == pytest.approx(wanted)


def test_ranks_that_never_change_are_explained_by_place() -> None:
    same = torch.arange(9.0).expand(5, 9) / 8
    assert explained_by_place(same) == pytest.approx(1)
    generator = torch.Generator().manual_seed(0)
    chance = place_shares(torch.rand(4000, 9, generator=generator))
    assert explained_by_place(chance) < 0.01
    assert distance_from_middle(chance) == pytest.approx(1, abs=0.02)


def test_important_middles_are_near_the_middle() -> None:
    ranks = torch.tensor([[0.0, 0.1, 0.2, 0.3, 1.0, 0.4, 0.35, 0.15, 0.05]])
    assert distance_from_middle(ranks) == 0


def test_symbols_that_name_pixels_have_all_the_variance_between_them() -> None:
    group = torch.tensor([0, 0, 1, 1, 2])
    values = torch.eye(3)[group]
    assert variance_between(values, group) == pytest.approx(1)
    assert variance_between(values, torch.zeros(5, dtype=torch.long)) == pytest.approx(0)
    rows = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    assert within_over_between(values, rows) == 0
