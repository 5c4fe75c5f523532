"""The gradient of one step: of a whole batch at once, or of parts of it with the same result."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pg_platform.config.experiment import Experiment
from pg_platform.game.batch_norm import Part, statistics_of
from pg_platform.game.patch_game import PatchGame
from pg_platform.game.sampling import Noise
from pg_platform.training.cuda_graph import Played, StepGraph, Views, graph_fits
from pg_platform.training.worker import Worker, autocast_dtype


class Gradients:
    """Leaves the gradient of a step's loss, averaged over the workers, in the parameters."""

    def __init__(self, method: PatchGame, experiment: Experiment, place: Worker) -> None:
        self.method, self.place = method, place
        self.dtype = autocast_dtype(experiment, place.device)
        # Multiplies a loss whose gradients would vanish in fp16; does nothing otherwise.
        self.scaler = torch.amp.GradScaler(
            place.device.type, enabled=experiment.precision == "fp16"
        )
        self.micro_batch = experiment.resources.micro_batch
        self.playing: nn.Module = method
        if place.world > 1 and self.micro_batch is None:
            self.playing = DistributedDataParallel(
                method, forward_sync_buffers=False, gradient_as_bucket_view=True
            )
        self.graph = StepGraph(method) if graph_fits(experiment, place) else None
        self.played = False

    def of(self, views: Views, progress: float, noise: Noise) -> Played:
        """Loss, detached, and metrics of a round; the gradients are multiplied by the scaler."""
        if self.micro_batch is not None:
            return self._of_parts(views, progress, noise, self.micro_batch)
        if self.graph is None or not self.played:  # the first round looks at its messages
            self.played = True
            return self._play(progress, views, noise)
        self.method.set_progress(progress)
        try:
            return self.graph(partial(self._play, None), views, noise)
        except torch.AcceleratorError as error:
            self.graph = None
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"this step cannot be recorded for the GPU ({reason}); it runs kernel by kernel, "
                "with the same results; resources.cuda_graph=false spares the attempt",
                stacklevel=2,
            )
            return self._play(progress, views, noise)

    def _play(self, progress: float | None, views: Views, noise: Noise) -> Played:
        with self.autocast():
            loss, metrics = self.playing(views, progress=progress, noise=noise)
        self.scaler.scale(loss).backward()
        return loss.detach(), metrics

    def _of_parts(self, views: Views, progress: float, noise: Noise, size: int) -> Played:
        """The gradient cache of Gao et al. 2021: the contrast sees the whole batch.

        Each part goes through the networks twice: without a graph, for its embeddings, and with
        one, to take on the gradient of the loss with respect to them.
        """
        rows = [slice(start, start + size) for start in range(0, len(noise.rows), size)]
        parts = [_Round((views[0][r], views[1][r]), progress, noise.part(r)) for r in rows]
        with torch.no_grad():
            text, image, metrics = self._embedded(parts)
        text.requires_grad_()
        image.requires_grad_()
        with self.autocast():
            loss, top1 = self.method.contrast(text, image)
        self.scaler.scale(loss).backward()
        assert text.grad is not None
        assert image.grad is not None
        with statistics_of(self.method, None):
            for part, r in zip(parts, rows, strict=True):
                embedded = self._embed(part)[:2]
                torch.autograd.backward(embedded, (text.grad[r], image.grad[r]))
        self._average()
        return loss.detach(), {"top1_batch": top1, **metrics}

    def _embedded(self, parts: Sequence[_Round]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Embeddings of all parts, (rows, out) each, and the means of their metrics."""
        texts, images, told = [], [], []
        for number, part in enumerate(parts):
            with statistics_of(self.method, Part(number, len(parts))):
                text, image, metrics = self._embed(part)
            texts.append(text)
            images.append(image)
            told.append(metrics)
        means = {name: torch.stack([each[name] for each in told]).mean(dim=0) for name in told[0]}
        return torch.cat(texts), torch.cat(images), means

    def _embed(self, part: _Round) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        with self.autocast():
            return self.method.embed(part.views, progress=part.progress, noise=part.noise)

    def autocast(self) -> torch.autocast:
        """The precision of the forward pass."""
        return torch.autocast(
            self.place.device.type, self.dtype, enabled=self.dtype != torch.float32
        )

    def _average(self) -> None:
        """What DistributedDataParallel does during a backward pass, after two of them."""
        if self.place.world == 1:
            return
        grads = [p.grad for p in self.method.parameters() if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= self.place.world
        for grad, mean in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view_as(grad))


@dataclass(frozen=True)
class _Round:
    """A part of a batch, and how it is played."""

    views: Views
    progress: float
    noise: Noise
