"""Sec. 3.2, eq. 9: what a message carries, and which of its parts the listener uses.

Success is the share of messages that find their image in training's fixed pools of the validation
split, views and order included, so that `whole` is `val/top1_poolN` of the last epoch. Each row of
the table changes one thing (language/ablations.py); its interval is a bootstrap over images.

Bits: success s in a pool of N is worth log2(s N), and 0 at chance or below. `symbols`,
`gate` and `order` are what is lost when that part comes from another image, or from a permutation
of the message. They need not add up: parts that say the same lose little each, parts that are read
together lose all of it each.

Influence is the causal influence of communication (Lowe et al. 2019): the mutual information in
bits between message and choice, when each message of a pool is as probable and the listener
chooses an image by its softmax; log2(N) at most, 0 for a listener that does not listen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated

import torch
from matplotlib.figure import Figure
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from pg_platform.config.section import Section
from pg_platform.config.seeds import stream
from pg_platform.data.loaders import EVALUATION_BATCH
from pg_platform.evaluation.games import (
    Proportion,
    Round,
    bits,
    credits,
    play_validation,
    pool_cosines,
    say,
    share_of,
    understood,
)
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.language.ablations import CERTAIN, DRAWN, Ablation, Messages, dropped
from pg_platform.plots.charts import bars, curve
from pg_platform.store.table import Table

Hear = Callable[[Messages], Tensor]
"""What the listener makes of messages, (n, out)."""


class Options(Section):
    """`pool_size` null: that of the run's validation. Draws are repeated `repeats` times."""

    pool_size: Annotated[int, Field(ge=2)] | None = None
    class_pool_size: Annotated[int, Field(ge=2)] = 8
    repeats: PositiveInt = 3
    resamples: PositiveInt = 1000
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Success of whole and of changed messages, bits of each part, influence.

    Raises ValueError where the validation split has no pool of `pool_size`.
    """
    played = play_validation(trained)
    pool = options.pool_size or trained.experiment.validation.pool_size
    size = len(played.seen) // pool * pool
    if not size:
        raise ValueError(f"pool_size is {pool} and validation has {len(played.seen)} images")
    rows = torch.arange(size, device=trained.device)
    spoken, seen = played.decided.of(rows), played.seen[rows]

    def hear(messages: Messages) -> Tensor:
        return understood(trained.game, messages)

    shares = success(spoken, seen, hear, pool_size=pool, options=options)
    hits = credits(hear(played.sampled.of(rows)), seen, pool)
    shares["sampled"] = share_of(hits, options.resamples, options.seed)
    shares["noise_images"] = _hashing(trained, size, pool, options)
    classes = _by_class(played, hear, options)
    scale = trained.game.loss.scale().item()
    metrics = {f"audit/top1_pool{pool}_{name}": share.mean for name, share in shares.items()}
    metrics |= {
        f"audit/top1_pool{options.class_pool_size}_{name}": share.mean
        for name, share in classes.items()
    }
    metrics |= {f"audit/bits_pool{pool}_{k}": v for k, v in carried(shares, pool).items()}
    cosines = pool_cosines(hear(spoken), seen, pool)
    metrics[f"audit/influence_bits_pool{pool}"] = influence_bits(cosines * scale)
    metrics["audit/soft_gates"] = _between(spoken.gate)
    return EvaluationResult(
        metrics,
        tables={"channel": _table(shares, pool, classes, options.class_pool_size)},
        figures=_figures(shares, pool),
        words="\n".join(_words(shares, classes, pool, played, options.class_pool_size)),
    )


def success(
    spoken: Messages, seen: Tensor, hear: Hear, *, pool_size: int, options: Options
) -> dict[str, Proportion]:
    """Success in pools of `pool_size` neighbours: of `whole` messages and under each ablation.

    `dropped1`, `dropped2`, `dropped4`, ... are messages without so many of their patches.
    """
    counts = [2**power for power in range(spoken.gate.shape[1].bit_length())]
    drops = {f"dropped{n}": dropped(n) for n in counts if n < spoken.gate.shape[1]}

    def shared(name: str, change: Ablation, repeats: int) -> Proportion:
        hits = [
            credits(hear(change(spoken, _generator(options.seed, name, turn))), seen, pool_size)
            for turn in range(repeats)
        ]
        return share_of(torch.stack(hits).mean(dim=0), options.resamples, options.seed)

    whole = {"whole": shared("whole", lambda messages, _: messages, 1)}
    certain = {name: shared(name, change, 1) for name, change in CERTAIN.items()}
    drawn = {name: shared(name, change, options.repeats) for name, change in DRAWN.items()}
    return whole | certain | drawn | {n: shared(n, c, options.repeats) for n, c in drops.items()}


def carried(shares: Mapping[str, Proportion], pool: int) -> dict[str, float]:
    """Bits of the whole message, and those that are lost with each part of it."""
    whole = bits(shares["whole"].mean, pool)
    parts = {"symbols": "symbols_shuffled", "gate": "gates_shuffled", "order": "order_shuffled"}
    lost = {part: whole - bits(shares[name].mean, pool) for part, name in parts.items()}
    return {"whole": whole, **lost}


def influence_bits(logits: Tensor) -> float:
    """Mutual information of message and choice from logits (pools, messages, images)."""
    chosen = logits.double().softmax(dim=2)
    usual = torch.special.entr(chosen.mean(dim=1)).sum(dim=1)  # (pools,), in nats
    given = torch.special.entr(chosen).sum(dim=2).mean(dim=1)
    return max(0.0, float((usual - given).mean()) / math.log(2))


def _generator(seed: int, name: str, turn: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream(seed, "audit", name, turn))


@torch.no_grad()
def _hashing(trained: Trained, images: int, pool: int, options: Options) -> Proportion:
    """Both agents see the same Gaussian noise: success is agreement on pixels, not on content.

    The hashing test of Bouchacourt and Baroni (2018).
    """
    generator, side = _generator(options.seed, "noise", 0), trained.experiment.data.image_size
    text, seen = [], []
    for part in torch.arange(images).split(EVALUATION_BATCH):
        pixels = torch.randn(len(part), 3, side, side, generator=generator).to(trained.device)
        text.append(trained.game.heard(say(trained.game, pixels, None)))
        seen.append(trained.game.seen(pixels))
    hits = credits(torch.cat(text), torch.cat(seen), pool)
    return share_of(hits, options.resamples, options.seed)


def _by_class(played: Round, hear: Hear, options: Options) -> dict[str, Proportion]:
    """The same images in pools of one class and in pools of any; empty where no class fills one."""
    size, labels = options.class_pool_size, played.labels
    members = [(labels == one).nonzero().flatten() for one in labels[labels >= 0].unique()]
    whole = [images[: len(images) // size * size] for images in members if len(images) >= size]
    if not whole:
        return {}
    same = torch.cat(whole)
    order = torch.randperm(len(same), generator=_generator(options.seed, "classes", 0))
    text, found = hear(played.decided), {}
    for name, images in (("same_class", same), ("any_class", same[order.to(same.device)])):
        hits = credits(text[images], played.seen[images], size)
        found[name] = share_of(hits, options.resamples, options.seed)
    return found


def _between(gate: Tensor) -> float:
    """The share of gates that are neither 0 nor 1."""
    return ((gate != 0) & (gate != 1)).double().mean().item()


def _table(
    shares: Mapping[str, Proportion], pool: int, classes: Mapping[str, Proportion], class_pool: int
) -> Table:
    rows = [
        (name, size, share.mean, share.low, share.high, 1 / size)
        for found, size in ((shares, pool), (classes, class_pool))
        for name, share in found.items()
    ]
    return Table(("message", "pool", "top1", "ci_low", "ci_high", "chance"), tuple(rows))


def _figures(shares: Mapping[str, Proportion], pool: int) -> dict[str, Figure]:
    drops = {int(n.removeprefix("dropped")): s for n, s in shares.items() if "dropped" in n}
    shown = {n: (s.mean, s.low, s.high) for n, s in shares.items() if "dropped" not in n}
    points = [(0, shares["whole"].mean), *((n, share.mean) for n, share in drops.items())]
    metric = f"top-1 among {pool}"
    return {
        "channel": bars(shown, metric=metric, chance=1 / pool),
        "dropped": curve(points, x="patches dropped", y=metric, levels={"chance": 1 / pool}),
    }


def _words(
    shares: Mapping[str, Proportion],
    classes: Mapping[str, Proportion],
    pool: int,
    played: Round,
    class_pool: int,
) -> Iterator[str]:
    """What the numbers say, a sentence a line."""
    whole, chance = shares["whole"], 1 / pool
    soft = _between(played.decided.gate)
    if soft or not played.one_hot:
        yield (
            f"The channel is not discrete: {soft:.1%} of the gates are neither 0 nor 1"
            f"{'' if played.one_hot else ', and symbols are not one-hot'}; binarised, success goes "
            f"from {whole.mean:.3f} to {shares['gate_binarised'].mean:.3f}."
        )
    else:
        yield "The channel is discrete: every symbol is one-hot and every gate is 0 or 1."
    if whole.low <= chance:
        yield f"Success {whole.mean:.4f} is not told apart from chance {chance:.4f}: no channel."
        return
    yield _rests_on(carried(shares, pool))
    other = shares["another_message"].mean
    if abs(other - chance) > 4 * (chance * (1 - chance) / len(played.seen)) ** 0.5:
        yield f"Another image's message scores {other:.4f} and not chance {chance:.4f}: a leak."
    noise = shares["noise_images"]
    yield (
        f"On Gaussian noise {noise.mean:.3f} succeed"
        f"{': the agents agree on pixels too' if noise.low > chance else ', as guessing does'}."
    )
    if classes:
        same, any_ = classes["same_class"].mean, classes["any_class"].mean
        yield f"Among {class_pool} of one class {same:.3f} succeed, of any class {any_:.3f}."
    else:
        yield f"No class has {class_pool} labelled images: pools of one class are left out."


def _rests_on(found: Mapping[str, float]) -> str:
    parts = {part: found[part] for part in ("symbols", "gate", "order")}
    most = max(parts, key=parts.__getitem__)
    told = ", ".join(f"{part} {lost:.2f}" for part, lost in parts.items())
    return f"It carries {found['whole']:.2f} bits and rests most on {most}; lost without: {told}."
