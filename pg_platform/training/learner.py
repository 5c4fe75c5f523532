"""What learns: a method with its optimiser, its share of the data, and what it notes of both."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm

from pg_platform.config.experiment import Experiment
from pg_platform.config.metrics import TRAIN_IMAGES
from pg_platform.config.seeds import stream
from pg_platform.data.images import Images, open_images
from pg_platform.data.loaders import Batch, GameLoader, Share, validation_batches
from pg_platform.data.sizes import check_room
from pg_platform.game.batch_norm import batch_norms, running_statistics
from pg_platform.game.patch_game import PatchGame
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training import checkpoint
from pg_platform.training.checkpoint import Progress
from pg_platform.training.gradients import Gradients
from pg_platform.training.guard import Guard, first_not_finite, shortened
from pg_platform.training.history import Row
from pg_platform.training.newest import agreed
from pg_platform.training.optimizer import build_optimizer, learning_rate, weight_decay
from pg_platform.training.validation import validate
from pg_platform.training.worker import (
    Worker,
    check_supported,
    memory_format,
    peak_memory_gib,
    sum_dtype,
)

_OF_THE_OPTIMIZER = {"lr", "grad_norm", "skipped_steps", "symbol_temperature"}


class Learner:
    """One worker's part of a run."""

    def __init__(self, experiment: Experiment, place: Worker) -> None:
        self.experiment, self.place = experiment, place
        check_supported(experiment, place.device)
        check_room(experiment)
        self.images = open_images(experiment.data, "train")
        self.loader = GameLoader(
            self.images, experiment, Share(place.rank, place.world), place.device
        )
        self.steps = self.loader.steps * experiment.epochs
        self.method = build(experiment).to(place.device).train()
        self.layout = memory_format(place.device)
        self.method.to(memory_format=self.layout)  # type: ignore[call-overload]
        if experiment.compile:
            _compile(self.method)
        self.optimizer = build_optimizer(self.method, experiment)
        self.gradients = Gradients(self.method, experiment, place)
        self.guard = Guard(self.optimizer, place.device)
        self.validation_images: Images | None = None
        if place.rank == 0:
            self.validation_images = open_images(experiment.data, "val")
            self._validation_batches()  # refuses a split too small before the first step
        self.sums: dict[str, Tensor] = {}
        self.waited = self.worked = 0.0
        self.timed_images = 0

    def resume(self, folder: Path, warn: Callable[[str], None]) -> Progress:
        """The progress of the newest whole checkpoint in `folder`, loaded; else the beginning.

        `warn` is called, on every worker, where newer ones are damaged. Raises CheckpointError
        where there are checkpoints and none is whole.
        """
        choice = agreed(folder, self.place)
        if choice.told is not None:
            warn(choice.told)
        if choice.path is None:
            return Progress()
        progress = checkpoint.restore(
            choice.path, self.method, self.optimizer, self.gradients.scaler
        )
        device = self.place.device
        self.sums = {
            name: torch.tensor(total, dtype=sum_dtype(device), device=device)
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
        """One optimiser step; sums of its metrics stay on the device, and nothing waits for it."""
        lr = self._schedule(progress.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss, metrics = self._play(batch, progress.step)
        for parameter in self.method.resting(progress.epoch):
            parameter.grad = None
        norm = self._clip()
        noted = {"loss": loss, **metrics, "lr": torch.tensor(lr, dtype=torch.float64)}
        noted |= self._update(progress.step, loss, norm)
        progress.step += 1
        for name, value in noted.items():
            total = value.detach().to(sum_dtype(value.device))
            self.sums[name] = self.sums[name] + total if name in self.sums else total

    def finish_epoch(self, progress: Progress) -> Row:
        """Close the epoch: its means, and validation where it is due.

        Raises FloatingPointError where a loss was not finite.
        """
        self._settle(progress)
        steps = self.loader.steps
        means = {_metric(name): total / steps for name, total in progress.sums.items()}
        progress.epoch += 1
        progress.sums, self.sums = {}, {}
        row = Row(
            epoch=progress.epoch,
            step=progress.step,
            images=progress.step * self.experiment.batch_size,
            metrics=means | self._speed() | self._of_data() | self._validation(progress.epoch),
        )
        progress.rows.append(row)
        return row

    def save(self, folder: Path, progress: Progress) -> None:
        """A checkpoint, written by rank 0; FloatingPointError where a loss was not finite."""
        self._settle(progress)
        if self.place.rank == 0:
            checkpoint.save(
                folder,
                self.experiment,
                self.method,
                self.optimizer,
                self.gradients.scaler,
                progress,
            )

    def _schedule(self, step: int) -> float:
        """Set learning rate and weight decay for a step; gives the rate."""
        chosen = self.experiment.optimizer
        lr = learning_rate(chosen, self.experiment.batch_size, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        decaying, _ = self.optimizer.param_groups
        decaying["weight_decay"] = weight_decay(chosen, step, self.steps)
        return lr

    def _play(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(stream(self.experiment.seed, "torch", step, self.place.rank))
        views = (
            batch.speaker.contiguous(memory_format=self.layout),
            batch.listener.contiguous(memory_format=self.layout),
        )
        return self.gradients.of(views, step / self.steps, self._noise(step))

    def _noise(self, step: int) -> Noise:
        share = self.experiment.batch_size // self.place.world
        first = self.place.rank * share if self.experiment.worker_noise == "own" else 0
        rows = range(first, first + share)
        return Noise(self.experiment.seed, step, rows, self.place.device)

    def _clip(self) -> Tensor:
        """The gradient norm before clipping to `clip_norm`."""
        self.gradients.scaler.unscale_(self.optimizer)
        parameters = [p for p in self.method.parameters() if p.grad is not None]
        if (limit := self.experiment.optimizer.clip_norm) is not None:
            return clip_grad_norm_(parameters, limit)
        return get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _update(self, step: int, loss: Tensor, norm: Tensor) -> dict[str, Tensor]:
        """Change the weights, unless a loss or a gradient was not finite; what to note of that.

        In fp16 gradients overflow now and then: the scaler leaves such a step out, and it counts.
        """
        scaler = self.gradients.scaler
        if not scaler.is_enabled():
            self.guard.note(step, loss, norm)
            self.optimizer.step()
            return {"grad_norm": norm}
        scaler.step(self.optimizer)
        scaler.update()
        finite = torch.isfinite(norm)
        return {"grad_norm": torch.where(finite, norm, 0.0), "skipped_steps": ~finite}

    def _settle(self, progress: Progress) -> None:
        """Every worker goes on from the means of all, as a resumed run does."""
        if (bad := self.guard.bad_step()) is not None:
            raise FloatingPointError(self._explained(bad, progress))
        if self.sums:
            sums = torch.stack([self._here(total) for total in self.sums.values()])
            self.sums = dict(zip(self.sums, self.place.mean(sums), strict=True))
        progress.sums = {name: total.item() for name, total in self.sums.items()}
        if self.experiment.batch_norm_images is not None:
            for statistics in running_statistics(batch_norms(self.method)):
                statistics.copy_(self.place.mean(statistics))

    def _here(self, total: Tensor) -> Tensor:
        return total.to(self.place.device, sum_dtype(self.place.device))

    def _explained(self, step: int, progress: Progress) -> str:
        """Plays the bad step again, on the weights that it met, to see where it went wrong."""
        batch = next(self.loader.epoch(progress.epoch, step - progress.epoch * self.loader.steps))
        module = first_not_finite(self.method, lambda: self._replayed(batch, step))
        ids = shortened([self.images.ids[i] for i in batch.index.tolist()])
        return (
            f"the loss or its gradient is not finite at step {step + 1} (epoch "
            f"{progress.epoch + 1}), first in {module or 'the backward pass'}; images of this "
            f"worker: {ids}; the last checkpoint is from before it; try a smaller optimizer.lr or "
            "optimizer.clip_norm"
        )

    def _replayed(self, batch: Batch, step: int) -> object:
        views = (batch.speaker, batch.listener)
        with self.gradients.autocast():
            return self.method(views, progress=step / self.steps, noise=self._noise(step))

    def _speed(self) -> dict[str, float]:
        """Images per second of all workers, the share of that time spent on data, and memory."""
        speed = {
            "perf/images_per_s": self.timed_images / self.worked if self.worked else 0.0,
            "perf/data_wait_share": self.waited / self.worked if self.worked else 0.0,
            "perf/peak_memory_gib": peak_memory_gib(self.place.device),
        }
        self.waited = self.worked = 0.0
        self.timed_images = 0
        return speed

    def _of_data(self) -> dict[str, float]:
        """Images of which the means of an epoch are shares, and those of them that are broken.

        A training image is broken since this process started, and replaced by another.
        """
        found = torch.tensor([float(len(self.images.broken))], device=self.place.device)
        return {
            TRAIN_IMAGES: float(self.loader.steps * self.experiment.batch_size),
            "data/broken_images": self.place.mean(found).item() * self.place.world,
        }

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


def _compile(method: PatchGame) -> None:
    """In place, so that the names of weights stay; the first step then takes minutes."""
    if shutil.which("c++") is None and shutil.which("g++") is None:
        raise ValueError(
            "compile: there is no C++ compiler on PATH; install g++, or compile: false"
        )
    for network in method.networks():
        network.compile()


def _metric(name: str) -> str:
    """The name under which a mean over an epoch's steps is reported."""
    return f"optim/{name}" if name in _OF_THE_OPTIMIZER else f"train/{name}"
