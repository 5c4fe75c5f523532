"""Where a worker stands: its rank, its device, its precision, and what all ranks agree on."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pg_platform.config.experiment import Experiment, Resources
from pg_platform.training.code import code_identity

_GIB = 2**30
CONTEXT_BYTES = _GIB
"""The most that is taken for CUDA's context: what else is in use belongs to other processes."""


@dataclass(frozen=True)
class Worker:
    """One worker of `world` equal ones; the process group exists already where world > 1."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all workers."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def of_first(self, numbers: list[int]) -> list[int]:
        """Rank 0's whole numbers, on every worker; each brings as many."""
        if self.world == 1:
            return numbers
        told = torch.tensor(numbers, device=self.device)
        dist.broadcast(told, src=0)
        return [int(number) for number in told.tolist()]


class Agreement:
    """Rank 0's answers to some questions, on every worker, without a wait for the device.

    Each call broadcasts the new answers and gives those of the call before, which have arrived
    since.
    """

    def __init__(self, place: Worker, questions: int) -> None:
        self.place = place
        self.pinned = place.device.type == "cuda"
        self.answers = torch.zeros(questions, pin_memory=self.pinned)
        self.arrived: torch.cuda.Event | None = None

    def __call__(self, *mine: bool) -> tuple[bool, ...]:
        """The answers that rank 0 gave at the call before; with one worker those given now."""
        if self.place.world == 1:
            return mine
        if self.arrived is not None:
            self.arrived.synchronize()
        agreed = tuple(bool(answer) for answer in self.answers)
        flags = torch.tensor(mine, dtype=torch.float32).to(self.place.device, non_blocking=True)
        dist.broadcast(flags, src=0)
        self.answers.copy_(flags, non_blocking=True)
        if self.pinned:
            self.arrived = torch.cuda.Event()
            self.arrived.record()
        return agreed


def local_worker(resources: Resources) -> Worker:
    """The only worker, in this process, on the device that `resources.device` names.

    Raises ValueError where that is asked for and not there; nothing falls back in silence.
    """
    check_device(resources)
    torch.set_num_threads(resources.cpus_per_worker)
    kind = _device_type(resources)
    # the memory of a GPU is limited by its number; Ray shows a worker its own alone
    device = torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
    hold_to_share(resources, device)
    return Worker(device)


def _device_type(resources: Resources) -> str:
    if resources.device != "auto":
        return resources.device
    if resources.gpus_per_worker > 0:
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(resources: Resources) -> None:
    """Raise ValueError where a GPU is asked for and this machine has none."""
    if resources.device == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            "resources.device is mps and torch finds no Apple GPU here; run on the CPU with --set "
            "resources.device=cpu"
        )
    if resources.gpus_per_worker > 0 and not torch.cuda.is_available():
        raise ValueError(
            f"resources.gpus_per_worker is {resources.gpus_per_worker:g} and this machine shows no "
            "GPU; run on the CPU with --set resources.gpus_per_worker=0 (in a sweep too)"
        )


def hold_to_share(resources: Resources, device: torch.device) -> None:
    """A worker with a fraction of a GPU cannot take more of its memory: others hold the rest."""
    if device.type == "cuda" and 0 < resources.gpus_per_worker < 1:
        torch.cuda.set_per_process_memory_fraction(resources.gpus_per_worker, device)


def check_supported(experiment: Experiment, device: torch.device) -> None:
    """Raise ValueError where `device` is Apple's, found by `auto`, and cannot do what is asked."""
    if device.type != "mps":
        return
    if experiment.compile or experiment.precision == "fp16":
        wanted = "compile" if experiment.compile else "precision fp16"
        raise ValueError(
            f"{wanted} is not supported on Apple's MPS; leave it out, or run on the CPU with --set "
            "resources.device=cpu"
        )


def sum_dtype(device: torch.device) -> torch.dtype:
    """In which sums over many steps are kept: float64, which MPS has not."""
    return torch.float32 if device.type == "mps" else torch.float64


def peak_memory_gib(device: torch.device) -> float:
    """The most that this process has held at once: of the GPU where it computes, else of the host.

    In GiB. Of a GPU, what the allocator reserved and the context that CUDA keeps besides, which
    the device counts as used and the allocator does not know of. MPS shares the host's memory and
    counts no peak: what its driver holds now.
    """
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / _GIB
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        context = max(0, total - free - torch.cuda.memory_reserved(device))
        return (torch.cuda.max_memory_reserved(device) + min(context, CONTEXT_BYTES)) / _GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB


def memory_gib(device: torch.device) -> float:
    """What the GPU has, or the host where the device is the CPU, in GiB."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / _GIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB


def memory_format(device: torch.device) -> torch.memory_format:
    """How images and weights lie in memory: channels last, as a GPU's fastest kernels want them.

    On MPS and on a CPU contiguous. In channels last, PyTorch adds up on a CPU what batch
    normalisation needs of a channel in float32, one value after another (an error of 1e-3 in its
    output at 3 million values; contiguous it sums in double), and oneDNN's weight gradient of a
    strided 1x1 convolution of few channels writes beyond its memory: a crash, a hang or wrong
    gradients (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def autocast_dtype(experiment: Experiment, device: torch.device) -> torch.dtype:
    """bfloat16 where asked for, or under `auto` where the device computes in it."""
    match experiment.precision:
        case "float32":
            return torch.float32
        case "bf16":
            return torch.bfloat16
        case "fp16":
            return torch.float16
        case "auto":
            if device.type == "mps":
                return torch.float32
            able = (
                torch.cuda.is_bf16_supported()
                if device.type == "cuda"
                else torch.cpu._is_avx512_bf16_supported()
            )
            return torch.bfloat16 if able else torch.float32


def worker_facts(experiment: Experiment, device: torch.device) -> dict[str, str]:
    """What a run's record says about where it ran: device, its memory, what `auto` meant, code."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    dtype = autocast_dtype(experiment, device)
    return {
        "device": name,
        "device_gib": f"{memory_gib(device):.2f}",
        "precision": str(dtype).removeprefix("torch."),
        "code": code_identity(),
    }
