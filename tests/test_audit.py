"""The channel audit: toy channels whose success theory gives, and what it says of real agents."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from evals.audit import Options, carried, evaluate, influence_bits, success
from pg_platform.data.images import open_images
from pg_platform.data.loaders import validation_batches
from pg_platform.evaluation.games import Proportion, bits, share_of
from pg_platform.language.ablations import Messages, dropped, order_shuffled
from pg_platform.training.validation import validate
from tests.agents import agents
from tests.methods import METHODS

IMAGES, POOL, PATCHES, VOCABULARY = 256, 16, 24, 8
CHANCE = 1 / POOL


def bag(spoken: Messages) -> Tensor:
    """A listener that counts the symbols of all patches and knows no gate and no order."""
    return normalize(one_hot(spoken.ids, VOCABULARY).float().sum(dim=(1, 2)) - 3, dim=1)


def gate_only(spoken: Messages) -> Tensor:
    """A listener that sees which patches are sent, and nothing else."""
    return normalize(2 * spoken.gate - 1, dim=1)


def in_order(spoken: Messages) -> Tensor:
    """A listener that knows the symbol of each patch."""
    return normalize(one_hot(spoken.ids, VOCABULARY).float().flatten(1), dim=1)


def deaf(spoken: Messages) -> Tensor:
    """A listener to whom all messages are the same."""
    return torch.ones(len(spoken), 3)


def messages() -> Messages:
    generator = torch.Generator().manual_seed(0)
    tilt = torch.randn(IMAGES, 1, VOCABULARY, generator=generator) * 2
    draws = torch.rand(IMAGES, PATCHES, VOCABULARY, generator=generator)
    ids = (tilt - (-draws.log()).log()).argmax(dim=2, keepdim=True)
    return Messages(ids, (torch.rand(IMAGES, PATCHES, generator=generator) < 0.5).float())


def audited(hear: Callable[[Messages], Tensor]) -> dict[str, Proportion]:
    spoken = messages()
    return success(spoken, hear(spoken), hear, pool_size=POOL, options=Options(resamples=50))


@pytest.mark.parametrize(
    ("hear", "kept", "lost"),
    [
        (
            gate_only,
            {"whole", "symbols_shuffled", "symbols_constant", "order_shuffled"},
            {"gates_shuffled", "all_gates_on", "another_message"},
        ),
        (
            bag,
            {"whole", "gates_shuffled", "all_gates_on", "gate_binarised", "dropped8"},
            {"symbols_shuffled", "symbols_constant", "another_message"},
        ),
        (
            in_order,
            {"whole", "gates_shuffled", "all_gates_on"},
            {"symbols_shuffled", "symbols_constant", "another_message"},
        ),
        (deaf, set(), {"whole", "gates_shuffled", "symbols_constant", "another_message"}),
    ],
)
def test_a_channel_loses_everything_with_the_part_that_it_uses(
    hear: Callable[[Messages], Tensor], kept: set[str], lost: set[str]
) -> None:
    shares = audited(hear)
    assert all(shares[name].mean > 0.95 for name in kept)
    deviation = math.sqrt(CHANCE * (1 - CHANCE) / IMAGES)
    assert all(abs(shares[name].mean - CHANCE) < 4 * deviation for name in lost)
    assert all(share.low <= share.mean <= share.high for share in shares.values())


def test_only_a_channel_with_order_suffers_from_another_order() -> None:
    assert audited(bag)["order_shuffled"] == audited(bag)["whole"]
    assert audited(in_order)["order_shuffled"].mean < audited(in_order)["whole"].mean


def test_bits_are_lost_with_the_gate_alone_where_the_gate_is_all() -> None:
    lost = carried(audited(gate_only), POOL)
    assert lost["whole"] == pytest.approx(math.log2(POOL), abs=0.1)
    assert (lost["symbols"], lost["order"]) == (0, 0)
    assert lost["gate"] > 3


def test_a_deaf_listener_carries_no_bits() -> None:
    assert carried(audited(deaf), POOL) == dict.fromkeys(("whole", "symbols", "gate", "order"), 0)


def test_bits_of_success() -> None:
    assert [bits(s, 64) for s in (0, 1 / 64, 1 / 8, 1)] == [0, 0, 3, 6]


@given(st.integers(0, 2**31), st.integers(1, 5))
def test_influence_is_the_mutual_information_of_message_and_choice(seed: int, size: int) -> None:
    logits = 3 * torch.randn(1, size, size, generator=torch.Generator().manual_seed(seed))
    chosen = logits[0].double().softmax(dim=1).tolist()
    usual = [sum(row[a] for row in chosen) / size for a in range(size)]
    wanted = sum(p * math.log2(p / q) for row in chosen for p, q in zip(row, usual, strict=True))
    assert influence_bits(logits) == pytest.approx(wanted / size, abs=1e-6)


def test_influence_of_a_listener_that_obeys_and_of_one_that_does_not_listen() -> None:
    assert influence_bits(100 * torch.eye(16).expand(2, 16, 16)) == pytest.approx(4)
    assert influence_bits(torch.arange(16.0).expand(2, 16, 16)) == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 2**31), st.integers(0, PATCHES))
def test_dropping_takes_so_many_sent_patches_and_adds_none(seed: int, count: int) -> None:
    spoken = messages()
    gate = dropped(count)(spoken, torch.Generator().manual_seed(seed)).gate
    assert bool((gate <= spoken.gate).all())
    assert torch.equal(gate.sum(dim=1), (spoken.gate.sum(dim=1) - count).clamp(min=0))


@given(st.integers(0, 2**31))
def test_another_order_keeps_the_symbols_that_are_sent(seed: int) -> None:
    before = messages()
    after = order_shuffled(before, torch.Generator().manual_seed(seed))
    assert torch.equal(after.gate, before.gate)
    assert not torch.equal(after.ids, before.ids)
    for one, other, sent in zip(before.ids, after.ids, before.gate > 0, strict=True):
        assert sorted(one[sent].flatten().tolist()) == sorted(other[sent].flatten().tolist())


def test_the_interval_of_certain_success_is_a_point_and_of_a_coin_is_not() -> None:
    assert share_of(torch.ones(40), 100, 0) == Proportion(1, 1, 1)
    coin = share_of(torch.tensor([0.0, 1.0]).repeat(50), 500, 0)
    assert 0.35 < coin.low < 0.45 < 0.55 < coin.high < 0.65


@pytest.mark.parametrize("name", ["patch_game", "soft gate", "wide heads"])
def test_whole_messages_succeed_as_in_validation_and_strangers_by_chance(name: str) -> None:
    run = agents(METHODS[name])
    images = open_images(run.experiment.data, "val")
    batches = validation_batches(images, run.experiment, run.device)
    wanted = validate(run.game, batches, pool_size=64, vocab_size=8)
    run.game.eval()
    found = evaluate(run, Options(resamples=20))
    top1 = {key.removeprefix("audit/top1_pool64_"): v for key, v in found.metrics.items()}
    assert top1["whole"] == pytest.approx(wanted["val/top1_pool64"])
    deviation = math.sqrt(1 / 64 / 512)
    for guess in ("whole", "another_message", "noise_images"):  # none has learned anything
        assert abs(top1[guess] - 1 / 64) < 4 * deviation
    soft = name == "soft gate"
    assert (found.metrics["audit/soft_gates"] > 0.9) is soft
    assert found.words.startswith("The channel is not discrete" if soft else "The channel is disc")
    assert "no channel" in found.words


def test_a_pool_larger_than_validation_is_refused() -> None:
    with pytest.raises(ValueError, match="pool_size is 4096"):
        evaluate(agents({}), Options(pool_size=4096))
