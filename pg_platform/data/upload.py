"""From the host to the device without a wait for what the device is doing."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` of the host on `device`; a GPU fetches it when it gets there.

    From pinned memory, which PyTorch keeps until then: a copy from any other waits for all that
    the GPU was given before. MPS has no such memory and may read what is gone by then: it waits.
    """
    if device.type == "cuda":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on `device`, (len(values),) float32, uploaded once; not to be written into."""
    return upload(torch.tensor(values), device)
