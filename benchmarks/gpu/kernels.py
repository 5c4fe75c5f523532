"""The pieces that the paper's sizes strain: soft ranks, wide heads, k-NN, a bank of messages."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.gpu.figures import Sheet, each, forget_peak, peak_gib, rate, timed
from benchmarks.gpu.settings import SMALL
from evals.knn import Options, nearest
from pg_platform.data.images import open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.game.loss import symmetric_infonce
from pg_platform.game.soft_rank import soft_rank
from pg_platform.game.wide_head import WidePair
from pg_platform.methods import build
from pg_platform.sweep.load import load_experiment

IMAGENET, WIDTH = 1_281_167, 512
BOTTLENECK, WIDE = 256, 65_536
SECONDS = 1.0


def kernels(sheet: Sheet) -> None:
    """Each piece alone, forward and backward where it learns."""
    pieces = {
        "soft ranks": partial(_soft_ranks, sheet),
        "wide heads": partial(_wide_heads, sheet),
        "k-NN": partial(_neighbours, sheet),
        "bank of messages": partial(_messages, sheet),
    }
    each(sheet, pieces, wants=sheet.wants(2.0))


def _soft_ranks(sheet: Sheet) -> None:
    for rows, patches in ((64, 49),) if sheet.small else ((512, 49), (512, 196), (2048, 49)):
        scores = torch.randn(rows, patches, device=sheet.device, requires_grad=True)

        def step(scores: Tensor = scores) -> object:
            return torch.autograd.grad(soft_rank(scores, 1.0, "minimax").square().sum(), scores)

        forget_peak(sheet.device)
        seconds = timed(sheet, step, sheet.wants(SECONDS))
        spread = {"low": 1e3 * seconds["low"], "high": 1e3 * seconds["high"], "n": seconds["n"]}
        name = f"soft ranks of {rows} x {patches}, with gradient"
        sheet.figure(name, 1e3 * seconds["median"], "ms", **spread)
        if not sheet.small:
            sheet.figure(f"{name}: memory", peak_gib(sheet.device), "GiB")


def _wide_heads(sheet: Sheet) -> None:
    """Loss and gradients through Gram matrices, against the plain product."""
    wide = 1024 if sheet.small else WIDE
    for batch in (128,) if sheet.small else (512, 2048):
        medians = {}
        for form in ("plain", "gram"):
            heads = WidePair(BOTTLENECK, wide, form).to(sheet.device)
            ends = [
                torch.randn(batch, BOTTLENECK, device=sheet.device, requires_grad=True)
                for _ in "ti"
            ]
            scale = torch.tensor(14.0, device=sheet.device)

            def step(heads: WidePair = heads, ends: list[Tensor] = ends) -> object:
                text, image = heads.factors(*ends)
                loss, _ = symmetric_infonce(text, image, scale, "whole")  # noqa: B023
                return torch.autograd.grad(loss, [*ends, *heads.parameters()])

            seconds = timed(sheet, step, sheet.wants(SECONDS))
            medians[form] = seconds["median"]
            spread = {"low": 1e3 * seconds["low"], "high": 1e3 * seconds["high"]}
            name = f"heads {wide} wide, {form}, B = {batch}"
            sheet.figure(name, 1e3 * medians[form], "ms", n=seconds["n"], **spread)
        ratio = medians["plain"] / medians["gram"]
        sheet.figure(f"heads {wide} wide, B = {batch}: plain over gram", ratio, "times")


def _neighbours(sheet: Sheet) -> None:
    """Exact k-NN, k = 20, in a bank of ImageNet's size."""
    count, queries = (5_000, 64) if sheet.small else (IMAGENET, 8192)
    options, generator = Options(), torch.Generator(sheet.device).manual_seed(0)
    bank = normalize(torch.randn(count, WIDTH, device=sheet.device, generator=generator))
    asked = normalize(torch.randn(queries, WIDTH, device=sheet.device, generator=generator))

    def search() -> Tensor:
        parts = asked.split(options.query_chunk)
        return torch.cat([nearest(part, bank, options)[1] for part in parts])

    forget_peak(sheet.device)
    speed = rate(queries, timed(sheet, search, sheet.wants(SECONDS)))
    name = f"k-NN in {count:,} x {WIDTH}"
    sheet.figure(name, speed.pop("value"), "queries/s", **speed)
    if not sheet.small:
        sheet.figure(f"{name}: memory", peak_gib(sheet.device), "GiB")


def _messages(sheet: Sheet) -> None:
    """Decided messages, embeddings and features of images, as a message bank holds them."""
    count = 256 if sheet.small else 50_000
    data = f"data={{kind: shapes, image_size: 32, count: {count}, val_fraction: 0.01}}"
    experiment = load_experiment(SMALL, (data, "validation.pool_size=2"))
    images = open_images(experiment.data, "train")
    method = build(experiment).to(sheet.device).eval()

    def bank() -> int:
        said = 0
        for pixels, _ in plain_batches(images, experiment, sheet.device):
            played = method.play((pixels, pixels))
            features = method.features(pixels)
            said += len(played.ids.cpu()) + len(features.cpu()) - len(features)
        return said

    speed = rate(len(images), timed(sheet, bank, 0.0))
    sheet.figure(f"messages of {len(images):,} images", speed.pop("value"), "images/s", **speed)
