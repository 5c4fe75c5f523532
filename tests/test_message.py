"""What a message says about itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pg_platform.game.message import Message

IDS = torch.tensor([[[0, 3], [1, 1]], [[2, 0], [3, 3]], [[1, 2], [0, 0]]])
SYMBOLS = one_hot(IDS, 4).float()  # (images 3, patches 2, symbols 2, vocabulary 4)
GATE = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])


def _with(values: Tensor, index: tuple[int, ...], value: float) -> Tensor:
    changed = values.clone()
    changed[index] = value
    return changed


def test_ids_cover_unsent_patches_and_lengths_count_sent_symbols() -> None:
    message = Message(SYMBOLS, GATE)
    assert torch.equal(message.ids(), IDS)
    assert message.lengths().tolist() == [2, 4, 0]


def test_a_discrete_message_passes() -> None:
    Message(SYMBOLS, GATE).assert_discrete()


@pytest.mark.parametrize(
    ("index", "value"),
    [((0, 0, 0, 0), 0.999999), ((0, 0, 0, 1), 1.0), ((0, 0, 0, 0), 0.0), ((0, 0, 0, 1), torch.nan)],
    ids=["soft", "two-hot", "empty", "nan"],
)
def test_a_symbol_that_is_not_one_hot_is_refused(index: tuple[int, ...], value: float) -> None:
    message = Message(_with(SYMBOLS, index, value), GATE)
    with pytest.raises(ValueError, match=r"1 of 12 symbols are not one-hot; the first is \["):
        message.assert_discrete()


@pytest.mark.parametrize("value", [0.5, 1.0000001, -1.0, torch.nan])
def test_a_gate_between_is_refused(value: float) -> None:
    message = Message(SYMBOLS, _with(GATE, (1, 0), value))
    with pytest.raises(ValueError, match="1 of 6 gates are neither 0 nor 1; the first is"):
        message.assert_discrete()
