"""The contrastive loss over gloo workers: its exact gradient against a gather without gradient.

    python -m benchmarks.gather [--quick]

Each worker embeds its share of a batch of 512 with one linear layer per modality and takes the
symmetric InfoNCE forward and backward: `exact` as pg_platform does, exchanging logsumexps instead
of gradients; `autograd`, the same gradient through a gather that is differentiated; `constant`,
whose keys have no gradient, as in the authors' code. Beside the seconds: the norm of the averaged
gradient over that of one process with the whole batch, and their cosine. Workers are processes
on this machine, of one thread each, that meet over loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F

from benchmarks.interleaved import medians, verdict
from pg_platform.game.collectives import gather, rank, world
from pg_platform.game.loss import symmetric_infonce

BATCH = 512
INPUTS = 64
SCALE = 1 / 0.07
WIDTHS = (256, 8_192)
QUICK, FULL = {256: 51, 8_192: 5}, {256: 151, 8_192: 15}


def main() -> None:
    """Print a row per width and number of workers; last, two workers at a width of 256."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    repeats = QUICK if parser.parse_args().quick else FULL
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    print(f"batch {BATCH}; milliseconds of loss and gradient, norm ratio and cosine")
    print(f"{'workers':>7} {'width':>5} {'form':>9} {'ms':>8} {'norm':>6} {'cosine':>7}")
    ratios = {(w, width): _rows(w, width, repeats[width]) for w in (1, 2) for width in WIDTHS}
    print("exact over constant:", {key: round(ratio, 2) for key, ratio in ratios.items()})
    print(verdict("gather", ratios[2, 256], "<= 1.5"))


def _rows(workers: int, width: int, repeats: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, args=(folder, workers, width, repeats), nprocs=workers)
        found = json.loads((Path(folder) / "found.json").read_text())
    for form, seconds in found["seconds"].items():
        norm, cosine = found["norm"][form], found["cosine"][form]
        start = f"{workers:>7} {width:>5} {form:>9}"
        print(f"{start} {1e3 * seconds:>8.2f} {norm:>6.3f} {cosine:>7.4f}", flush=True)
    return float(found["seconds"]["exact"] / found["seconds"]["detached"])


def _work(rank: int, folder: str, workers: int, width: int, repeats: int) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    layers, inputs = _start(width)
    share = slice(rank * BATCH // workers, (rank + 1) * BATCH // workers)
    mine = [modality[share] for modality in inputs]
    steps = {form: partial(_gradient, layers, mine, loss) for form, loss in LOSSES.items()}
    found: dict[str, dict[str, float]] = {"seconds": medians(steps, repeats)}
    averaged = {name: _average(step()) for name, step in steps.items()}
    true = _gradient(layers, inputs, _alone)
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
    layers: list[Tensor], inputs: list[Tensor] | Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Of this worker's loss for both layers, flat."""
    text, image = (F.normalize(i @ w, dim=1) for i, w in zip(inputs, layers, strict=True))
    gradients = torch.autograd.grad(loss(text, image), layers)
    return torch.cat([gradient.flatten() for gradient in gradients])


def _of(keys: Literal["whole", "detached"], text: Tensor, image: Tensor) -> Tensor:
    return symmetric_infonce(text, image, torch.tensor(SCALE), keys)[0]


def _autograd(text: Tensor, image: Tensor) -> Tensor:
    own = rank() * len(text) + torch.arange(len(text))
    to_images = F.cross_entropy(SCALE * text @ gather(image).T, own)
    return (to_images + F.cross_entropy(SCALE * image @ gather(text).T, own)) / 2


def _alone(text: Tensor, image: Tensor) -> Tensor:
    """One process with the whole batch, whatever process group there is."""
    logits, own = SCALE * text @ image.T, torch.arange(len(text))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "exact": partial(_of, "whole"),
    "autograd": _autograd,
    "detached": partial(_of, "detached"),
}


def _average(gradient: Tensor) -> Tensor:
    """What DistributedDataParallel does to it."""
    dist.all_reduce(gradient)
    return gradient / world()


if __name__ == "__main__":
    main()
