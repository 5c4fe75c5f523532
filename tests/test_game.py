"""The contract that every method keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pg_platform.config.experiment import Experiment
from pg_platform.game.patch_game import PatchGame
from pg_platform.game.sampling import Noise
from pg_platform.methods import Method, build
from pg_platform.training.cuda_graph import HeldNoise
from tests.methods import METHODS
from tests.small import SMALL, merged, without_nulls

# (image, patch, vocabulary, symbols per patch)
SIZES = [
    (28, 7, 16, 1),
    (28, 4, 8, 2),
    (32, 4, 64, 3),
    (64, 8, 16, 1),
    (96, 32, 2, 4),
    (224, 16, 8, 1),
    (224, 32, 8, 1),
    (16, 8, 65536, 2),
]
ROWS = 8


@pytest.fixture(params=sorted(METHODS))
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A small experiment, once for each method."""
    return without_nulls(merged(SMALL, METHODS[request.param]))


def _experiment(settings: dict[str, Any], **changes: Any) -> Experiment:
    return Experiment.model_validate(merged(settings, changes))


def _views(experiment: Experiment, rows: int = ROWS, seed: int = 0) -> tuple[Tensor, Tensor]:
    side = experiment.data.image_size
    generator = torch.Generator().manual_seed(seed)
    speaker, listener = torch.randn(2, rows, 3, side, side, generator=generator)
    return speaker, listener


def _noise(step: int = 0, rows: int = ROWS) -> Noise:
    return Noise(0, step, range(rows), torch.device("cpu"))


def _learn(method: PatchGame, views: tuple[Tensor, Tensor], steps: int) -> list[float]:
    optimizer = torch.optim.Adam(method.parameters(), 2e-3)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss, _ = method.train()(views, progress=step / steps, noise=_noise(step))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("side", "patch", "vocabulary", "symbols"), SIZES)
def test_shapes(
    settings: dict[str, Any], side: int, patch: int, vocabulary: int, symbols: int
) -> None:
    speaker = {"patch_size": patch, "vocab_size": vocabulary, "symbols_per_patch": symbols}
    experiment = _experiment(settings, data={"image_size": side}, speaker=speaker)
    method = build(experiment)
    views = _views(experiment, rows=4)
    loss, metrics = method(views, progress=0.0, noise=_noise(rows=4))
    assert loss.shape == ()
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(metrics, ())
    assert not any(value.requires_grad for value in metrics.values())
    played = method.eval().play(views)
    patches = (side // patch) ** 2
    assert played.text.shape == played.image.shape == (4, experiment.listener.head.out)
    assert played.ids.shape == (4, patches, symbols)
    assert played.ids.dtype == torch.int64
    assert 0 <= int(played.ids.min()) <= int(played.ids.max()) < vocabulary
    assert played.gate.shape == played.importance.shape == (4, patches)
    assert played.gate.dtype == torch.bool
    rows, width = method.features(views[1]).shape
    first = method.listener.vision_head[0]
    assert isinstance(first, torch.nn.Linear)
    places = first.in_features / width
    assert rows == 4
    assert places == round(places**0.5) ** 2 <= (49 if method.listener.flatten else 1)


def test_what_a_recording_holds_gives_the_rounds_of_any_step(settings: dict[str, Any]) -> None:
    """Draws at one place of memory, refilled, and progress in a buffer: a GPU's recorded step."""
    experiment = _experiment(settings)
    method, views, held = build(experiment), _views(experiment), HeldNoise(_noise(1))
    places: dict[str, int] = {}
    for step, progress in ((1, 0.0), (2, 0.3), (3, 1.0)):
        torch.manual_seed(0)
        loss, metrics = method(views, progress=progress, noise=_noise(step))
        method.set_progress(progress)
        held.refill(_noise(step))
        again, others = method(views, progress=None, noise=held)
        assert torch.equal(loss, again)
        assert {key: value.item() for key, value in metrics.items()} == {
            key: value.item() for key, value in others.items()
        }
        now = {name: draws.data_ptr() for name, draws in held.held.items()}
        assert now == (places := places or now)


def test_metrics_of_a_round(settings: dict[str, Any]) -> None:
    experiment = _experiment(settings, speaker={"symbols_per_patch": 2})
    method = build(experiment)
    loss, metrics = method(_views(experiment), progress=0.25, noise=_noise())
    assert set(metrics) == {"top1_batch", "message_length", "symbol_temperature"}
    assert metrics["symbol_temperature"].item() == pytest.approx(3.0)
    assert 0 <= metrics["message_length"].item() <= 2 * experiment.patches
    assert metrics["top1_batch"].item() * ROWS == pytest.approx(
        round(metrics["top1_batch"].item() * ROWS)
    )
    assert loss.item() > 0


def test_every_parameter_learns(settings: dict[str, Any]) -> None:
    experiment = _experiment(settings)
    method = build(experiment)
    loss, _ = method(_views(experiment), progress=0.0, noise=_noise())
    loss.backward()
    silent = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_a_method_learns_a_handful_of_images(settings: dict[str, Any]) -> None:
    experiment = _experiment(
        settings,
        speaker={"vocab_size": 16, "temperature": {"start": 1.0}},
        listener={"text": {"width": 32}, "vision": {"width": 8}, "head": {"hidden": 64, "out": 32}},
    )
    method = build(experiment)
    views = _views(experiment, rows=ROWS)
    losses = _learn(method, (views[0], views[0]), steps=40)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    played = method.eval().play((views[0], views[0]))
    found = (played.text @ played.image.T).argmax(dim=1) == torch.arange(ROWS)
    assert int(found.sum()) >= ROWS // 2


def test_state_dict_round_trip(settings: dict[str, Any]) -> None:
    experiment = _experiment(settings)
    method, other = build(experiment), build(_experiment(settings, seed=1))
    views = _views(experiment)
    _learn(method, views, steps=1)
    other.load_state_dict(method.state_dict())
    assert _equal(_played(method, views), _played(other, views))


def _played(method: Method, views: tuple[Tensor, Tensor]) -> list[Tensor]:
    played = method.eval().play(views)
    return [played.text, played.image, played.ids, played.gate, played.importance]


def _equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def test_play_is_the_same_at_every_call(settings: dict[str, Any]) -> None:
    method, views = build(_experiment(settings)), _views(_experiment(settings))
    torch.manual_seed(0)
    first = _played(method, views)
    torch.manual_seed(1)
    assert _equal(first, _played(method, views))
    assert not any(t.requires_grad for t in first)


def test_play_in_training_mode_is_refused(settings: dict[str, Any]) -> None:
    method = build(_experiment(settings)).train()
    with pytest.raises(ValueError, match=r"play\(\) wants eval mode"):
        method.play(_views(_experiment(settings)))


def test_an_embedding_does_not_depend_on_the_rest_of_the_batch(settings: dict[str, Any]) -> None:
    method, views = build(_experiment(settings)), _views(_experiment(settings))
    whole = _played(method, views)
    order = torch.tensor([5, 2, 7])
    part = _played(method, (views[0][order], views[1][order]))
    for all_rows, some in zip(whole, part, strict=True):
        torch.testing.assert_close(some, all_rows[order])


def test_text_comes_from_the_first_view_and_image_from_the_second(settings: dict[str, Any]) -> None:
    method, views = build(_experiment(settings)), _views(_experiment(settings))
    other = _views(_experiment(settings), seed=1)
    played = _played(method, views)
    mixed = _played(method, (views[0], other[1]))
    assert torch.equal(mixed[0], played[0])
    assert not torch.allclose(mixed[1], played[1])
    assert torch.equal(method.features(views[1]), method.listener.features(views[1]))


def test_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone(
    settings: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = list(build(_experiment(settings)).state_dict().values())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert _equal(list(build(_experiment(settings)).state_dict().values()), first)
    other = build(_experiment(settings, seed=1)).state_dict().values()
    assert not _equal(list(other), first)


def test_a_step_is_a_function_of_weights_views_and_noise(settings: dict[str, Any]) -> None:
    method, views = build(_experiment(settings)).train(), _views(_experiment(settings))
    torch.manual_seed(0)
    first, _ = method(views, progress=0.0, noise=_noise(3))
    torch.manual_seed(1)
    assert torch.equal(method(views, progress=0.0, noise=_noise(3))[0], first)
    others = [method(views, progress=0.0, noise=_noise(step))[0] for step in range(4, 12)]
    assert not all(torch.equal(other, first) for other in others)


def test_a_method_works_under_bfloat16_autocast(settings: dict[str, Any]) -> None:
    experiment = _experiment(settings)
    method, views = build(experiment), _views(experiment)
    whole, _ = method(views, progress=1.0, noise=_noise())
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = method(views, progress=1.0, noise=_noise())
        played = method.eval().play(views)
    assert loss.dtype == played.text.dtype == played.importance.dtype == torch.float32
    assert loss.item() == pytest.approx(whole.item(), rel=0.15)
    method.train().zero_grad()
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_a_message_that_is_not_discrete_stops_the_run() -> None:
    experiment = _experiment(SMALL)
    views = _views(experiment)
    views[0][0] = torch.nan  # a symbol that is no symbol
    with pytest.raises(ValueError, match="not one-hot"):
        build(experiment)(views, progress=0.0, noise=_noise())
