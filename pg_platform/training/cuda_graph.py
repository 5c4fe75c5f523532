"""A step's forward and backward pass as one launch on a GPU.

The game of a small image is some two thousand short kernels, and the host takes three to ten times
as long to launch them as the GPU to run them (benchmarks/gpu.md).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pg_platform.config.experiment import Experiment
from pg_platform.game.sampling import Noise
from pg_platform.training.worker import Worker

WARM_UPS = 3
"""Rounds before the recording, in which libraries choose and allocate (torch.cuda.graph)."""

Views = tuple[Tensor, Tensor]
Played = tuple[Tensor, dict[str, Tensor]]
"""Loss and metrics."""
Play = Callable[[Views, Noise], Played]


def graph_fits(experiment: Experiment, place: Worker) -> bool:
    """Whether a step can be recorded: nothing in it may ask the host or another worker."""
    return (
        experiment.resources.cuda_graph
        and place.device.type == "cuda"
        and place.world == 1
        and experiment.resources.micro_batch is None
        and experiment.precision != "fp16"  # its scale is looked at
        and not experiment.compile
        and not any(experiment.custom())
    )


class StepGraph:
    """What a step makes of views and noise, recorded at the first call and then repeated.

    The same kernels on the same numbers: losses, gradients and statistics are to the bit those
    without it. Loss and metrics are overwritten by the next call. Whoever holds this is not held by
    it: the memory of the recorded step is free again as soon as nobody needs it.
    """

    def __init__(self, method: nn.Module) -> None:
        self.method = method
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, play: Play, views: Views, noise: Noise) -> Played:
        """Loss, detached, and metrics of `play`; the gradients are in the parameters.

        Raises torch.AcceleratorError where `play` does what cannot be recorded; statistics and
        gradients are then those of before.
        """
        if self.graph is None:
            self.graph = self._record(play, views, noise)
        for held, given in zip(self.views, views, strict=True):
            held.copy_(given)
        self.noise.refill(noise)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.played

    def _record(self, play: Play, views: Views, noise: Noise) -> torch.cuda.CUDAGraph:
        self.views = (views[0].clone(), views[1].clone())
        self.noise = HeldNoise(noise)
        statistics = [(buffer, buffer.clone()) for buffer in self.method.buffers()]
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._forget()
                play(self.views, self.noise)
        here.wait_stream(aside)
        for buffer, before in statistics:
            buffer.copy_(before)
        self._forget()
        graph = torch.cuda.CUDAGraph()
        # thread_local: the thread that pins decoded images may allocate meanwhile
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.played = play(self.views, self.noise)
        finally:
            torch.cuda.set_stream(here)  # which a recording that fails does not
        self.gradients = [(p, p.grad) for p in self.method.parameters() if p.grad is not None]
        return graph

    def _forget(self) -> None:
        """Gradients that are there would be added to."""
        for parameter in self.method.parameters():
            parameter.grad = None


class HeldNoise(Noise):
    """Draws that stay where they are in memory, and are replaced by those of another step."""

    def __init__(self, noise: Noise) -> None:
        super().__init__(noise.seed, noise.step, noise.rows, noise.device)
        object.__setattr__(self, "held", {})

    held: dict[str, Tensor]

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The draws called `name`, at the same place at each call."""
        if name not in self.held:
            self.held[name] = super().uniform(name, shape)
        return self.held[name]

    def refill(self, noise: Noise) -> None:
        """Take over the draws of `noise`."""
        for name, draws in self.held.items():
            draws.copy_(noise.uniform(name, tuple(draws.shape[1:])))
