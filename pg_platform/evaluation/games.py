"""Rounds of the game taken apart: what was said about a split, and how well it is understood."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import EVALUATION_BATCH, Batch, validation_batches
from pg_platform.evaluation.trained import Trained, batches_of
from pg_platform.game.message import Message
from pg_platform.game.patch_game import PatchGame
from pg_platform.game.sampling import Noise
from pg_platform.language.ablations import Messages
from pg_platform.progress import tracked
from pg_platform.training.validation import top_k_credit


@dataclass(frozen=True)
class Round:
    """What speaker and listener of a run do with the validation split, as training validates it.

    Row i of everything belongs to image i. `labels` (n,) int64 are -1 where there is none,
    `seen` (n, out) is what the listener makes of the images, `one_hot` says whether every symbol
    was.
    """

    decided: Messages
    sampled: Messages
    seen: Tensor
    labels: Tensor
    one_hot: bool


@torch.no_grad()
def play_validation(trained: Trained) -> Round:
    """The views, the order and hence the pools of training's validation, images of whole pools.

    `decided` are the most probable messages, `sampled` those of training at the last
    temperature. Raises ValueError where the split cannot fill one pool.
    """
    images: Images = open_images(trained.experiment.data, "val")
    game = trained.game
    decided, sampled, seen, index = [], [], [], []
    one_hot = True
    batches = validation_batches(images, trained.experiment, trained.device)
    for number, batch in enumerate(tracked(batches, "messages", batches_of(len(images)))):
        rows = range(len(batch.index))
        noise = Noise(trained.experiment.seed, number, rows, trained.device)
        message = say(game, batch.speaker, None)
        one_hot = one_hot and bool(((message.symbols == 0) | (message.symbols == 1)).all())
        decided.append(Messages(message.ids(), message.gate))
        drawn = say(game, batch.speaker, noise)
        sampled.append(Messages(drawn.ids(), drawn.gate))
        seen.append(game.seen(batch.listener))
        index.append(batch.index)
    labels = images.labels[torch.cat(index)].to(trained.device)
    return Round(_joined(decided), _joined(sampled), torch.cat(seen), labels, one_hot)


def pooled_batches(trained: Trained, pools: int) -> Iterator[Batch]:
    """The first `pools` whole pools of training's validation, or all where there are fewer."""
    experiment = trained.experiment
    images = open_images(experiment.data, "val")
    left = pools * experiment.validation.pool_size
    count = batches_of(min(left, len(images)))
    for batch in tracked(validation_batches(images, experiment, trained.device), "games", count):
        yield Batch(batch.speaker[:left], batch.listener[:left], batch.index[:left])
        left -= len(batch.index)
        if left <= 0:
            return


@torch.no_grad()
def say(game: PatchGame, pixels: Tensor, noise: Noise | None) -> Message:
    """A message about views (batch, 3, side, side): sampled with `noise`, else decided."""
    message, _ = game.speaker(pixels, game.experiment.speaker.temperature.end, noise)
    assert isinstance(message, Message)
    return message


def understood(game: PatchGame, spoken: Messages) -> Tensor:
    """What the listener makes of messages, (n, out)."""
    vocabulary = game.experiment.speaker.vocab_size
    parts = torch.arange(len(spoken)).split(EVALUATION_BATCH)
    return torch.cat([game.heard(_message(spoken.of(part), vocabulary)) for part in parts])


def credits(text: Tensor, image: Tensor, pool_size: int) -> Tensor:
    """Whether each message finds its image among its pool of neighbours, (n,) in [0, 1].

    A tie earns its expected credit, as in `pool_accuracy`.
    """
    return top_k_credit(pool_cosines(text, image, pool_size), 1).flatten()


def pool_cosines(text: Tensor, image: Tensor, pool_size: int) -> Tensor:
    """Cosines of messages and images of one pool, (pools, messages, images)."""
    pools = text.unflatten(0, (-1, pool_size))
    return torch.bmm(pools, image.unflatten(0, (-1, pool_size)).transpose(1, 2))


@dataclass(frozen=True)
class Proportion:
    """A mean of credits, with its 95 % interval."""

    mean: float
    low: float
    high: float


def share_of(hits: Tensor, resamples: int, seed: int) -> Proportion:
    """The mean of credits (n,) and its percentile bootstrap interval over images.

    The distractors of an image stay as they are.
    """
    hits = hits.double().cpu()
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack(
        [
            hits[torch.randint(len(hits), (len(hits),), generator=generator)].mean()
            for _ in range(resamples)
        ]
    )
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Proportion(hits.mean().item(), low, high)


def bits(success: float, pool_size: int) -> float:
    """log2 of how often success beats chance: 0 at or below chance, log2(pool) where it is 1."""
    return max(0.0, math.log2(max(success, 1 / pool_size) * pool_size))


def _message(spoken: Messages, vocabulary: int) -> Message:
    symbols = torch.nn.functional.one_hot(spoken.ids, vocabulary).to(spoken.gate.dtype)
    return Message(symbols, spoken.gate)


def _joined(parts: Iterable[Messages]) -> Messages:
    ids, gates = zip(*((part.ids, part.gate) for part in parts), strict=True)
    return Messages(torch.cat(ids), torch.cat(gates))
