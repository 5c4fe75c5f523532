"""How the agents learn: epochs of steps, with nothing here about where it runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_, get_total_norm

from pg_platform.config.experiment import Experiment
from pg_platform.config.seeds import stream
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import Batch, GameLoader, Share, validation_batches
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training import checkpoint
from pg_platform.training.checkpoint import Progress
from pg_platform.training.journal import Journal
from pg_platform.training.optimizer import build_optimizer
from pg_platform.training.place import Place, autocast_dtype
from pg_platform.training.rows import Outcome, Row
from pg_platform.training.schedules import learning_rate, weight_decay
from pg_platform.training.validation import validate

Report = Callable[[Sequence[Row]], None]
"""Called on every worker with new rows; after a resume, first with all rows so far."""

STOP_POLL_STEPS = 10
"""Several workers agree on a stop once in so many steps; one worker looks at every step."""


def train(
    experiment: Experiment,
    folder: Path,
    *,
    place: Place,
    report: Report,
    should_stop: Callable[[], bool],
) -> Outcome:
    """Train to the last epoch, from the newest checkpoint in `folder` if there is one.

    Every worker of `place` calls this. A run that was cut off anywhere and called again ends
    with the weights of a run that was not, bit for bit on the CPU with equal threads. Raises
    FloatingPointError where the loss is not finite; the checkpoints before it stay.
    """
    learner = Learner(experiment, place)
    progress = learner.resume(folder)
    journal = Journal(folder / "metrics.jsonl")
    if place.rank == 0:
        journal.restart(progress.rows)
    if progress.rows:
        report(progress.rows)
    while progress.epoch < experiment.epochs:
        if not _run_epoch(learner, progress, folder, should_stop):
            learner.save(folder, progress)
            return Outcome.INTERRUPTED
        row = learner.finish_epoch(progress)
        learner.save(folder, progress)
        if place.rank == 0:
            journal.append(row)
        report([row])
    return Outcome.COMPLETED


def _run_epoch(
    learner: Learner, progress: Progress, folder: Path, should_stop: Callable[[], bool]
) -> bool:
    """Take the steps of one epoch that are left; False where a stop was asked for."""
    place, every = learner.place, learner.experiment.checkpoints.every_steps
    for batch in learner.batches(progress):
        learner.step(batch, progress)
        if every and progress.step % every == 0:
            learner.save(folder, progress)
        polled = place.world == 1 or progress.step % STOP_POLL_STEPS == 0
        if polled and place.agree(should_stop()):
            return False
    return True


class Learner:
    """A method with its optimiser, its share of the data and the time it waits for them."""

    def __init__(self, experiment: Experiment, place: Place) -> None:
        self.experiment, self.place = experiment, place
        self.images = open_images(experiment.data, "train")
        self.loader = GameLoader(
            self.images, experiment, Share(place.rank, place.world), place.device
        )
        self.steps = self.loader.steps * experiment.epochs
        self.method = build(experiment).to(place.device).train()
        self.optimizer = build_optimizer(self.method, experiment)
        self.dtype = autocast_dtype(experiment, place.device)
        self.playing: nn.Module = self.method
        if place.world > 1:
            self.playing = DistributedDataParallel(self.method, broadcast_buffers=False)
        self.validation_images: Images | None = None
        if place.rank == 0:
            self.validation_images = open_images(experiment.data, "val")
            self._validation_batches()  # refuses a split too small before the first step
        self.sums: dict[str, Tensor] = {}
        self.waited = self.worked = 0.0
        self.timed_images = 0

    def resume(self, folder: Path) -> Progress:
        """The progress of the newest checkpoint in `folder`, loaded; else the beginning."""
        path = checkpoint.latest(folder)
        if path is None:
            return Progress()
        progress = checkpoint.restore(path, self.method, self.optimizer)
        self.sums = {
            name: torch.tensor(total, dtype=torch.float64, device=self.place.device)
            for name, total in progress.sums.items()
        }
        return progress

    def batches(self, progress: Progress) -> Iterator[Batch]:
        """What is left of the epoch under way, timed."""
        done = progress.step - progress.epoch * self.loader.steps
        batches = self.loader.epoch(progress.epoch, done)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch
            self.worked += time.perf_counter() - asked
            self.timed_images += len(batch.index) * self.place.world

    def step(self, batch: Batch, progress: Progress) -> None:
        """One optimiser step; sums of its metrics stay on the device."""
        lr = self._schedule(progress.step)
        with torch.autocast(
            self.place.device.type, self.dtype, enabled=self.dtype != torch.float32
        ):
            loss, metrics = self.playing(
                (batch.speaker, batch.listener),
                progress=progress.step / self.steps,
                noise=self._noise(progress.step),
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for parameter in self.method.resting(progress.epoch):
            parameter.grad = None
        norm = self._clip()
        self.optimizer.step()
        progress.step += 1
        for name, value in {"loss": loss, **metrics, "grad_norm": norm, "lr": lr}.items():
            total = torch.as_tensor(value, dtype=torch.float64, device=self.place.device).detach()
            self.sums[name] = self.sums[name] + total if name in self.sums else total

    def finish_epoch(self, progress: Progress) -> Row:
        """Close the epoch: its means, and validation where it is due."""
        self._share_sums(progress)
        steps = self.loader.steps
        means = {_metric(name): total / steps for name, total in progress.sums.items()}
        if not math.isfinite(means["train/loss"]):
            raise FloatingPointError(
                f"the loss is not finite in epoch {progress.epoch + 1} (step {progress.step}); "
                "the last checkpoint is from before it; try a smaller optimizer.lr or "
                "optimizer.clip_norm"
            )
        progress.epoch += 1
        progress.sums, self.sums = {}, {}
        row = Row(
            epoch=progress.epoch,
            step=progress.step,
            images=progress.step * self.experiment.batch_size,
            metrics=means | self._speed() | self._broken() | self._validation(progress.epoch),
        )
        progress.rows.append(row)
        return row

    def save(self, folder: Path, progress: Progress) -> None:
        """A checkpoint, written by rank 0."""
        self._share_sums(progress)
        if self.place.rank == 0:
            checkpoint.save(folder, self.experiment, self.method, self.optimizer, progress)

    def _schedule(self, step: int) -> float:
        """Set learning rate and weight decay for a step; gives the rate."""
        chosen = self.experiment.optimizer
        lr = learning_rate(chosen, self.experiment.batch_size, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        decaying, _ = self.optimizer.param_groups
        decaying["weight_decay"] = weight_decay(chosen, step, self.steps)
        return lr

    def _noise(self, step: int) -> Noise:
        seed, total, rank = self.experiment.seed, self.experiment.batch_size, self.place.rank
        share = total // self.place.world
        torch.manual_seed(stream(seed, "torch", step, rank))
        match self.experiment.worker_noise:
            case "own":
                rows = slice(rank * share, (rank + 1) * share)
            case "same":
                rows, total = slice(0, share), share
        return Noise(seed, step, rows, total, self.place.device)

    def _clip(self) -> Tensor:
        """The gradient norm before clipping to `clip_norm`."""
        parameters = [p for p in self.method.parameters() if p.grad is not None]
        if (limit := self.experiment.optimizer.clip_norm) is not None:
            return clip_grad_norm_(parameters, limit)
        return get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _share_sums(self, progress: Progress) -> None:
        """Every worker goes on from the mean of all, as a resumed run does."""
        if self.sums:
            shared = self.place.mean(torch.stack(list(self.sums.values())))
            self.sums = dict(zip(self.sums, shared, strict=True))
        progress.sums = {name: total.item() for name, total in self.sums.items()}

    def _speed(self) -> dict[str, float]:
        """Images per second of all workers, and the share of that time spent on data."""
        speed = {
            "perf/images_per_s": self.timed_images / self.worked if self.worked else 0.0,
            "perf/data_wait_share": self.waited / self.worked if self.worked else 0.0,
        }
        self.waited = self.worked = 0.0
        self.timed_images = 0
        return speed

    def _broken(self) -> dict[str, float]:
        """Training images found broken since this process started, each replaced by another."""
        found = torch.tensor([float(len(self.images.broken))], device=self.place.device)
        return {"data/broken_images": self.place.mean(found).item() * self.place.world}

    def _validation(self, epoch: int) -> dict[str, float]:
        """Fixed-pool success, on rank 0, in the epochs that `validation.every_epochs` names."""
        every = self.experiment.validation.every_epochs
        due = epoch % every == 0 or epoch == self.experiment.epochs
        if not due or self.validation_images is None:
            return {}
        return validate(
            self.method,
            self._validation_batches(),
            pool_size=self.experiment.validation.pool_size,
            vocab_size=self.experiment.speaker.vocab_size,
        )

    def _validation_batches(self) -> Iterator[Batch]:
        assert self.validation_images is not None, "rank 0 validates"
        return validation_batches(self.validation_images, self.experiment, self.place.device)


def _metric(name: str) -> str:
    """The name under which a mean over an epoch's steps is reported."""
    return f"optim/{name}" if name in {"lr", "grad_norm", "symbol_temperature"} else f"train/{name}"
