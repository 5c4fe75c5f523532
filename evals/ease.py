"""Sec. 3.3: ease of learning. How fast a new listener understands the frozen speaker.

The new listener starts from weights of its own seed and learns as the first one did: the run's
batch, views, loss and optimiser, with the rate's schedule over `steps`. It hears sampled messages
and is tested on decided ones in the pools of the run's validation. The speaker does not move, nor
do its running statistics. Languages that are easier to learn are said to be more regular (Li and
Bowling 2019). Steps are counted to the first test at or above `threshold`; where none is, that
metric is left out and the words say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from statistics import fmean
from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch.nn.utils import clip_grad_norm_

from pg_platform.config.section import Section
from pg_platform.config.seeds import stream
from pg_platform.data.images import open_images
from pg_platform.data.loaders import Batch, GameLoader, Share
from pg_platform.evaluation.games import credits, pooled_batches
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.game.patch_game import PatchGame
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.plots.charts import curve
from pg_platform.progress import tracked
from pg_platform.store.table import Table
from pg_platform.training.gradients import Gradients
from pg_platform.training.optimizer import build_optimizer, learning_rate
from pg_platform.training.worker import Worker

Lesson = tuple[int, float]
"""Steps taken, and success then."""


class Options(Section):
    """Success is tested every `every` steps on at most so many `pools`."""

    steps: PositiveInt = 200
    every: PositiveInt = 20
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    pools: PositiveInt = 4
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """The curve of a new listener, its end, its mean, and the steps to the threshold.

    Raises FloatingPointError where the loss is not finite.
    """
    pool = trained.experiment.validation.pool_size
    school = _School(trained, _newcomer(trained, options.seed), options)
    lessons = list(school.lessons())
    first = _success(trained, trained.game, options.pools)
    end, protocol = lessons[-1][1], f"pool{pool}_steps{options.steps}"
    metrics = {
        f"ease/top1_{protocol}": end,
        f"ease/mean_top1_{protocol}": fmean(success for _, success in lessons[1:]),
    }
    reached = steps_to(lessons, options.threshold)
    if reached is not None:
        metrics[f"ease/steps_to_{options.threshold:g}_{protocol}"] = reached
    levels = {"chance": 1 / pool, "threshold": options.threshold, "first listener": first}
    return EvaluationResult(
        metrics,
        tables={"curve": Table(("steps", "top1"), tuple(lessons))},
        figures={"curve": curve(lessons, x="steps", y=f"top-1 among {pool}", levels=levels)},
        words=(
            f"{_told(reached, options)}\n"
            f"It ends at {end:.3f}, the first listener has {first:.3f}, chance is {1 / pool:.4f}."
        ),
    )


def steps_to(lessons: Sequence[Lesson], threshold: float) -> int | None:
    """Steps at the first test with success `threshold` or more; None where there is none."""
    return next((steps for steps, success in lessons if success >= threshold), None)


@dataclass(frozen=True)
class _School:
    """A new listener, and the lessons that it takes."""

    trained: Trained
    game: PatchGame
    options: Options

    def lessons(self) -> Iterator[Lesson]:
        """Success before the first step, after every `every` steps and after the last."""
        experiment, device = self.game.experiment, self.trained.device
        gradients = Gradients(self.game, experiment, Worker(device))
        optimizer = build_optimizer(self.game, experiment)
        yield 0, self._tested()
        steps = tracked(islice(self._batches(), self.options.steps), "lessons", self.options.steps)
        for step, batch in enumerate(steps):
            rate = learning_rate(
                experiment.optimizer, experiment.batch_size, step, self.options.steps
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            noise = Noise(experiment.seed, step, range(experiment.batch_size), device)
            loss, _ = gradients.of((batch.speaker, batch.listener), 1.0, noise)
            gradients.scaler.unscale_(optimizer)
            if (limit := experiment.optimizer.clip_norm) is not None:
                clip_grad_norm_([p for p in self.game.parameters() if p.grad is not None], limit)
            gradients.scaler.step(optimizer)
            gradients.scaler.update()
            if (step + 1) % self.options.every == 0 or step + 1 == self.options.steps:
                if not loss.isfinite():
                    raise FloatingPointError(f"the new listener's loss is {loss} at {step + 1}")
                yield step + 1, self._tested()

    def _batches(self) -> Iterator[Batch]:
        """Training batches of the newcomer's own seed, without end."""
        experiment = self.game.experiment
        images = open_images(experiment.data, "train")
        loader = GameLoader(images, experiment, Share(), self.trained.device)
        return (batch for epoch in count() for batch in loader.epoch(epoch))

    def _tested(self) -> float:
        self.game.eval()
        success = _success(self.trained, self.game, self.options.pools)
        _learning(self.game)
        return success


def _newcomer(trained: Trained, seed: int) -> PatchGame:
    """The trained speaker, frozen, with a listener that has learned nothing."""
    own = trained.experiment.model_copy(update={"seed": stream(seed, "ease")})
    game = build(own).to(trained.device)
    game.speaker.load_state_dict(trained.game.speaker.state_dict())
    game.speaker.requires_grad_(requires_grad=False)
    return _learning(game)


def _learning(game: PatchGame) -> PatchGame:
    """Training mode, but for the speaker."""
    game.train()
    game.speaker.eval()
    return game


@torch.no_grad()
def _success(trained: Trained, game: PatchGame, pools: int) -> float:
    """Success of decided messages in the first `pools` pools of the validation split."""
    text, seen = [], []
    for batch in pooled_batches(trained, pools):
        played = game.play((batch.speaker, batch.listener))
        text.append(played.text)
        seen.append(played.image)
    pool = trained.experiment.validation.pool_size
    return credits(torch.cat(text), torch.cat(seen), pool).mean().item()


def _told(reached: int | None, options: Options) -> str:
    if reached is None:
        return (
            f"A new listener does not reach {options.threshold:g} in {options.steps} steps: there "
            "are no steps to it to report."
        )
    return f"A new listener reaches {options.threshold:g} after {reached} steps."
