"""Discrete samples: their distribution, their exactness, their gradients, their noise."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chisquare
from torch import Tensor

from pg_platform.config.experiment import SymbolTemperature
from pg_platform.game.sampling import Noise, bernoulli_gate, gumbel_softmax, symbol_temperature

CPU = torch.device("cpu")
DRAWS = 20_000


def _noise(seed: int = 0, step: int = 0, rows: range = range(256)) -> Noise:
    return Noise(seed, step, rows, CPU)


def _uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_share_the_noise_of_one(workers: int) -> None:
    share = 256 // workers
    parts = [
        _noise(rows=range(i * share, (i + 1) * share)).uniform("gate", (3, 2))
        for i in range(workers)
    ]
    assert torch.equal(torch.cat(parts), _noise().uniform("gate", (3, 2)))


@given(st.integers(0, 255), st.integers(1, 256))
def test_a_part_of_a_batch_has_the_noise_of_its_rows(start: int, length: int) -> None:
    rows = slice(start, min(256, start + length))
    part = _noise().part(rows).uniform("gate", (3,))
    assert torch.equal(part, _noise().uniform("gate", (3,))[rows])


def test_no_two_rows_have_the_same_noise() -> None:
    drawn = _noise().uniform("gate", (4,))
    assert len({tuple(row) for row in drawn.tolist()}) == 256


def test_noise_is_a_function_of_seed_step_and_name_only() -> None:
    torch.manual_seed(1)
    first = _noise(seed=3, step=5).uniform("gate", (100,))
    torch.manual_seed(2)
    assert torch.equal(_noise(seed=3, step=5).uniform("gate", (100,)), first)
    others = [_noise(4, 5), _noise(3, 6)]
    draws = [n.uniform("gate", (100,)) for n in others] + [_noise(3, 5).uniform("symbols", (100,))]
    assert all(
        abs(float(torch.corrcoef(torch.stack((d.flatten(), first.flatten())))[0, 1])) < 0.2
        for d in draws
    )


def test_drawing_noise_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    _noise().uniform("gate", (4,))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_symbols_are_one_hot_samples_of_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 0.5, -1.0, 0.0])
    sampled = gumbel_softmax(logits.expand(DRAWS, 4), temperature, _uniform(DRAWS, 4))
    counts = sampled.sum(dim=0)
    assert set(sampled.flatten().tolist()) == {0.0, 1.0}
    assert sampled.sum(dim=1).eq(1).all()
    assert chisquare(counts, DRAWS * logits.softmax(0)).pvalue > 0.01


def test_symbol_gradient_is_that_of_the_relaxed_sample() -> None:
    """Eq. 5 written out: softmax((log p + g) / tau)."""
    logits, uniform = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), _uniform(6, 5)
    weights = torch.arange(30.0).view(6, 5)
    logits.requires_grad_()
    relaxed = ((logits.log_softmax(1) - (-uniform.log()).log()) / 2.5).softmax(1)
    (wanted,) = torch.autograd.grad((weights * relaxed).sum(), logits)
    hard = gumbel_softmax(logits, 2.5, uniform)
    (grad,) = torch.autograd.grad((weights * hard).sum(), logits)
    torch.testing.assert_close(grad, wanted)
    assert grad.abs().min() > 0
    assert torch.equal(hard.argmax(1), relaxed.argmax(1))


def test_decided_symbols_are_the_most_probable_and_have_a_gradient() -> None:
    logits = torch.tensor([[0.1, 3.0, -1.0]], requires_grad=True)
    decided = gumbel_softmax(logits, 1.0, None)
    assert decided.tolist() == [[0.0, 1.0, 0.0]]
    (grad,) = torch.autograd.grad(decided[0, 1], logits)
    assert grad[0, 1] > 0 > grad[0, 0]


@given(st.integers(0, 2**31), st.floats(0.1, 10))
def test_values_are_zero_and_one_to_the_bit(seed: int, temperature: float) -> None:
    logits = 20 * torch.randn(7, 9, generator=torch.Generator().manual_seed(seed))
    symbols = gumbel_softmax(logits.requires_grad_(), temperature, _uniform(7, 9, seed=seed))
    gate = bernoulli_gate(logits, temperature, _uniform(7, 9, seed=seed), soft=False)
    for values in (symbols, gate):
        assert set(values.flatten().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_gates_open_as_often_as_asked(probability: float, temperature: float) -> None:
    logits = torch.full((DRAWS,), probability).logit()
    gate = bernoulli_gate(logits, temperature, _uniform(DRAWS), soft=False)
    low, high = binom.interval(0.998, DRAWS, probability)
    assert low <= float(gate.sum()) <= high
    assert set(gate.flatten().tolist()) == {0.0, 1.0}


def test_gate_gradient_is_that_of_the_relaxed_sample() -> None:
    logits = torch.tensor([-2.2, 0.0, 3.5], requires_grad=True)
    uniform = torch.tensor([0.4, 0.6, 0.2])
    relaxed = ((logits + torch.logit(uniform)) / 0.7).sigmoid()
    (wanted,) = torch.autograd.grad(relaxed.sum(), logits)
    hard = bernoulli_gate(logits, 0.7, uniform, soft=False)
    (grad,) = torch.autograd.grad(hard.sum(), logits)
    torch.testing.assert_close(grad, wanted)
    assert grad.min() > 0
    torch.testing.assert_close(bernoulli_gate(logits, 0.7, uniform, soft=True), relaxed)


def test_decided_gates_open_from_one_half() -> None:
    logits = torch.tensor([-9.0, -0.01, 0.0, 0.01, 9.0])
    assert bernoulli_gate(logits, 1.0, None, soft=False).tolist() == [0, 0, 1, 1, 1]


def test_extreme_draws_and_probabilities_stay_finite() -> None:
    edges = torch.tensor([0.0, 1 - 2**-24])
    logits = torch.zeros(2, requires_grad=True)
    gate_logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    gate = bernoulli_gate(gate_logits, 1.0, edges.flip(0), soft=False)
    outputs = gumbel_softmax(logits, 1.0, edges), gate
    grads = torch.autograd.grad(outputs[0][0] + outputs[1][0], (logits, gate_logits))
    assert all(bool(t.isfinite().all()) for t in (*outputs, *grads))


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_temperature_falls_from_start_to_end_and_stays(kind: str) -> None:
    schedule = SymbolTemperature.model_validate(
        {"start": 5.0, "end": 1.0, "anneal_fraction": 0.5, "schedule": kind}
    )
    curve = [symbol_temperature(schedule, i / 100, 100) for i in range(101)]
    assert curve[0] == 5.0
    assert curve[25] == pytest.approx(3.0)  # half way, both are half way down
    assert curve[50:] == [1.0] * 51
    assert all(a > b for a, b in pairwise(curve[:51]))


def test_cosine_starts_flat_and_linear_does_not() -> None:
    cosine = SymbolTemperature(start=5.0, end=1.0, anneal_fraction=1.0, schedule="cosine")
    linear = SymbolTemperature(start=5.0, end=1.0, anneal_fraction=1.0, schedule="linear")
    assert symbol_temperature(cosine, 1 / 3, 100) == pytest.approx(4.0)  # 1 + 4 (1 + cos 60) / 2
    assert symbol_temperature(linear, 1 / 3, 100) == pytest.approx(5 - 4 / 3)


def test_without_annealing_the_temperature_is_the_end_from_the_start() -> None:
    assert (
        symbol_temperature(SymbolTemperature(start=5.0, end=2.0, anneal_fraction=0.0), 0, 9) == 2.0
    )


def test_a_temperature_by_epoch_stands_still_within_each() -> None:
    by_epoch = SymbolTemperature(start=5.0, end=1.0, schedule="linear", update="epoch")
    curve = [symbol_temperature(by_epoch, step / 40, 4) for step in range(40)]
    assert curve == [5.0] * 10 + [3.0] * 10 + [1.0] * 20
