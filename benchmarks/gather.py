"""The contrastive loss over gloo workers: gather with gradient against gather without.

    python -m benchmarks.gather [--quick]

Each worker embeds its share of a batch of 512 with one linear layer per modality, gathers, and
takes the symmetric InfoNCE forward and backward. Beside the seconds of both: the norm of the
averaged gradient over that of one process with the whole batch, and their cosine. Workers are
processes on this machine, of one thread each, that meet over loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F

from benchmarks.interleaved import medians, verdict
from pg_platform.game.collectives import gather, gather_detached, rank, world

BATCH = 512
INPUTS = 64
SCALE = 1 / 0.07
WIDTHS = (256, 8_192)
GATHERS = {"with": gather, "without": gather_detached}


def main() -> None:
    """Print a row per width and number of workers; last, two workers at a width of 256."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    repeats = 5 if parser.parse_args().quick else 25
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    print(f"batch {BATCH}; seconds of loss and gradient; norm ratio and cosine to one process")
    print("workers width  with s  without s  ratio  norm with/without  cosine with/without")
    ratios = {(w, width): _row(w, width, repeats) for w in (1, 2) for width in WIDTHS}
    print(verdict("gather", ratios[2, 256], "<= 1.5"))


def _row(workers: int, width: int, repeats: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, args=(folder, workers, width, repeats), nprocs=workers)
        found = json.loads((Path(folder) / "found.json").read_text())
    seconds, norm, cosine = found["seconds"], found["norm"], found["cosine"]
    ratio = float(seconds["with"] / seconds["without"])
    print(
        f"{workers:>7} {width:>5} {seconds['with']:>7.4f} {seconds['without']:>10.4f} {ratio:>6.2f}"
        f" {norm['with']:>9.3f} / {norm['without']:.3f} {cosine['with']:>12.4f} /"
        f" {cosine['without']:.4f}"
    )
    return ratio


def _work(rank: int, folder: str, workers: int, width: int, repeats: int) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    layers, inputs = _start(width)
    share = slice(rank * BATCH // workers, (rank + 1) * BATCH // workers)
    mine = [modality[share] for modality in inputs]
    steps = {name: partial(_gradient, layers, mine, form) for name, form in GATHERS.items()}
    found: dict[str, dict[str, float]] = {"seconds": medians(steps, repeats)}
    averaged = {name: _average(step()) for name, step in steps.items()}
    true = _gradient(layers, inputs, lambda local: local, own=torch.arange(BATCH))
    found["norm"] = {n: float(g.norm() / true.norm()) for n, g in averaged.items()}
    found["cosine"] = {n: float(F.cosine_similarity(g, true, 0)) for n, g in averaged.items()}
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _start(width: int) -> tuple[list[Tensor], Tensor]:
    """Weights (INPUTS, width) and inputs (BATCH, INPUTS) of a game that is half learned."""
    generator = torch.Generator().manual_seed(0)
    layers = torch.randn(2, INPUTS, width, generator=generator)
    inputs = torch.randn(2, BATCH, INPUTS, generator=generator)
    layers[1] += layers[0]
    inputs[1] += inputs[0]
    return [layer.clone().requires_grad_() for layer in layers], inputs


def _gradient(
    layers: list[Tensor],
    inputs: list[Tensor] | Tensor,
    form: Callable[[Tensor], Tensor],
    own: Tensor | None = None,
) -> Tensor:
    """Of this worker's loss for both layers, flat; `own` are its rows among those gathered."""
    text, image = (F.normalize(i @ w, dim=1) for i, w in zip(inputs, layers, strict=True))
    if own is None:
        own = rank() * len(text) + torch.arange(len(text))
    to_images = F.cross_entropy(SCALE * text @ form(image).T, own)
    to_messages = F.cross_entropy(SCALE * image @ form(text).T, own)
    gradients = torch.autograd.grad((to_images + to_messages) / 2, layers)
    return torch.cat([gradient.flatten() for gradient in gradients])


def _average(gradient: Tensor) -> Tensor:
    """What DistributedDataParallel does to it."""
    dist.all_reduce(gradient)
    return gradient / world()


if __name__ == "__main__":
    main()
