"""The text encoder hears what was sent, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pg_platform.config.experiment import Experiment
from pg_platform.game.listener import PatchListener
from pg_platform.game.message import Message
from pg_platform.game.transformer import gated_attention
from tests.small import SMALL, merged

PATCHES, SLOTS, VOCAB = 4, 2, 8
EXPERIMENT = Experiment.model_validate(
    merged(SMALL, {"speaker": {"symbols_per_patch": SLOTS}, "listener": {"text": {"depth": 3}}})
)


@pytest.fixture
def listener() -> PatchListener:
    torch.manual_seed(0)
    return PatchListener(EXPERIMENT).eval()


def _message(gate: Tensor, seed: int = 0) -> Message:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCAB, (len(gate), PATCHES, SLOTS), generator=generator)
    return Message(F.one_hot(ids, VOCAB).float(), gate)


GATES = torch.tensor([[1.0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]])


def _attention_inputs(scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    query, key, value = scale * torch.randn(3, 5, 2, 9, 4, generator=generator)
    gate = (torch.rand(5, 9, generator=generator) > 0.5).float()
    gate[:, 0] = 1
    return query, key, value, gate


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_gated_attention_equals_attention_under_a_key_padding_mask(scale: float) -> None:
    query, key, value, gate = _attention_inputs(scale)
    masked = F.scaled_dot_product_attention(
        query, key, value, attn_mask=gate.bool()[:, None, None, :]
    )
    torch.testing.assert_close(gated_attention(query, key, value, gate), masked)


def test_attention_gradients_of_sent_tokens_equal_those_under_a_mask() -> None:
    query, key, value, gate = _attention_inputs()
    inputs = [t.requires_grad_() for t in (query, key, value)]
    mask = gate.bool()[:, None, None, :]
    masked = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    wanted = torch.autograd.grad(masked.square().sum(), inputs)
    gated = gated_attention(query, key, value, gate)
    grads = torch.autograd.grad(gated.square().sum(), inputs)
    for grad, want in zip(grads, wanted, strict=True):
        torch.testing.assert_close(grad, want)


def test_gate_gradient_is_how_the_output_would_turn_towards_the_token() -> None:
    """d out / d gate_k = exp(s_k) (v_k - out) / sum over sent j of exp(s_j)."""
    query, key, value, gate = _attention_inputs()
    gate[:, 0] = 1
    weights = torch.randn(5, 2, 9, 4, generator=torch.Generator().manual_seed(2))
    out = gated_attention(query, key, value, gate.requires_grad_())
    (grad,) = torch.autograd.grad((weights * out).sum(), gate)

    scores = (query @ key.transpose(2, 3)) / 2
    sent = gate.detach()[:, None, None, :]
    strongest = scores.masked_fill(sent == 0, -torch.inf).amax(3, keepdim=True)
    exponentials = torch.minimum(scores, strongest).exp()
    share = exponentials / (exponentials * sent).sum(3, keepdim=True)  # (5, 2, queries, keys)
    turn = value.unsqueeze(2) - out.detach().unsqueeze(3)  # (5, 2, queries, keys, width)
    wanted = (weights.unsqueeze(3) * share.unsqueeze(4) * turn).sum((1, 2, 4))
    torch.testing.assert_close(grad, wanted)
    assert grad.abs().min() > 0


def test_unsent_symbols_do_not_change_an_embedding_by_a_bit(listener: PatchListener) -> None:
    first, other = _message(GATES), _message(GATES, seed=1)
    sent = GATES[:, :, None, None].bool()
    mixed = Message(torch.where(sent, first.symbols, other.symbols), GATES)
    assert not torch.equal(mixed.symbols, first.symbols)
    with torch.no_grad():
        assert torch.equal(listener.read(mixed), listener.read(first))


@pytest.mark.parametrize("patch", [0, 2])
def test_sent_symbols_and_their_places_change_the_embedding(
    listener: PatchListener, patch: int
) -> None:
    message = _message(GATES[:1])
    changed = message.symbols.clone()
    changed[0, patch] = changed[0, patch].roll(1, dims=-1)
    swapped = message.symbols[:, [2, 1, 0, 3]]
    slots = message.symbols.flip(2)
    closed = dataclasses.replace(message, gate=GATES[3:4])
    with torch.no_grad():
        before = listener.read(message)
        for symbols in (changed, swapped, slots):
            assert not torch.allclose(listener.read(Message(symbols, GATES[:1])), before, atol=1e-4)
        assert not torch.allclose(listener.read(closed), before, atol=1e-4)


def test_every_gate_has_a_gradient_sent_or_not(listener: PatchListener) -> None:
    gate = GATES.clone().requires_grad_()
    embedding = listener.read(_message(gate))
    weights = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad((weights * embedding).sum(), gate)
    assert grad.abs().min() > 1e-6


def test_both_embeddings_have_norm_one(listener: PatchListener) -> None:
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for embedding in (listener.read(_message(GATES)), listener.look(images)):
            torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
        assert listener.features(images).shape == (4, 32)
