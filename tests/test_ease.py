"""Ease of learning: a new listener learns, the speaker does not, and steps are counted."""

from __future__ import annotations

import pytest
import torch

from evals.ease import Options, evaluate, steps_to
from tests.agents import agents

TALKATIVE = {
    "speaker": {"vocab_size": 64, "gate": {"kind": "all"}},
    "views": {
        "color_jitter": {"probability": 0.0},
        "crop": {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]},
        "flip": 0.0,
        "grayscale": 0.0,
        "speaker": {"blur": 0.0},
        "listener": {"blur": 0.0, "solarize": 0.0},
    },
}


@pytest.mark.parametrize(("threshold", "steps"), [(0.1, 0), (0.3, 20), (0.31, 60), (0.9, None)])
def test_steps_are_counted_to_the_first_test_that_succeeds(
    threshold: float, steps: int | None
) -> None:
    assert steps_to([(0, 0.1), (20, 0.3), (40, 0.2), (60, 0.8)], threshold) == steps


def test_a_new_listener_learns_from_a_speaker_that_stays() -> None:
    run = agents({**TALKATIVE, "optimizer": {"lr": 0.01}, "validation": {"pool_size": 16}})
    before = {name: tensor.clone() for name, tensor in run.game.state_dict().items()}
    found = evaluate(run, Options(steps=150, every=50, threshold=0.15, pools=8))
    rows = found.tables["curve"].rows
    assert [steps for steps, _ in rows] == [0, 50, 100, 150]
    assert rows[-1][1] > 2 / 16 > rows[0][1]
    assert 0 < found.metrics["ease/steps_to_0.15_pool16_steps150"] <= 150
    for name, tensor in run.game.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_threshold_that_is_not_reached_has_no_steps_and_is_told() -> None:
    found = evaluate(agents({}), Options(steps=3, every=2, threshold=1.0))
    assert [steps for steps, _ in found.tables["curve"].rows] == [0, 2, 3]
    assert not [name for name in found.metrics if "steps_to" in name]
    assert "does not reach 1 in 3 steps" in found.words
