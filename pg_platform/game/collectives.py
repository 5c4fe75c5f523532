"""What workers exchange inside a step, with its gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def world() -> int:
    """How many workers share the batch; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This worker's number; 0 without a process group."""
    return dist.get_rank() if world() > 1 else 0


def gather(local: Tensor) -> Tensor:
    """`local` (n, ...) of all workers as (world * n, ...), in the order of their ranks.

    All workers bring equal shapes: `require_equal_rows` says so once, before the first step.
    The gradient of a worker's rows is the sum of what all workers' losses want of them;
    DistributedDataParallel's mean then is the gradient of the mean loss.
    """
    if world() == 1:
        return local
    everyone: Tensor = _Gather.apply(local)  # type: ignore[no-untyped-call]
    return everyone


def gather_detached(local: Tensor) -> Tensor:
    """`gather` whose result is constant, this worker's own rows too: the authors' form.

    Each similarity of a symmetric loss then pulls at its query and never at its key: gradients
    have half the norm of the true ones, with one worker as with many.
    """
    with torch.no_grad():
        return gather(local.detach())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.rows = len(local)
        everyone = local.new_empty((world() * len(local), *local.shape[1:]))
        dist.all_gather_single(everyone, local.contiguous())
        return everyone

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]
