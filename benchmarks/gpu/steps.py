"""A training step at the paper's size: images a second, share of the peak, memory, compiled or not.

The baseline is the plain eager float32 form of the same equations, in the same process.
"""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.gpu.figures import Sheet, each, forget_peak, peak_gib, rate, timed
from benchmarks.gpu.settings import at_paper_size, small_recipe
from benchmarks.step import MATRIX, Step, forward_flops, peak_flops
from pg_platform.config.experiment import Experiment

RECIPES = ("photos", "paper", "official")
BATCHES = (128, 256, 512, 1024, 2048)
BASELINE_BATCH = 256
COMPILE_SECONDS = 60.0
SECONDS = 1.5
"""How long one form is timed, once its first call is over."""


def steps(sheet: Sheet) -> None:
    """First what everybody asks for: `photos` at 256 against the plain form; then the rest."""
    baseline = 16 if sheet.small else BASELINE_BATCH
    batches = (16,) if sheet.small else BATCHES
    each(sheet, {"peak of products": partial(_peaks, sheet)})
    for recipe in RECIPES:
        each(sheet, {f"{recipe}, plain, B = {baseline}": partial(_plain, sheet, recipe, baseline)})
        each(
            sheet,
            {f"{recipe}, B = {batch}": partial(_ours, sheet, recipe, batch) for batch in batches},
        )
        each(
            sheet,
            {
                f"{recipe}, kernel by kernel": partial(
                    _ours, sheet, recipe, baseline, how="kernel by kernel"
                )
            },
        )
    if sheet.small:
        sheet.note("compiled steps", "not on a CPU, where the compiler takes minutes")
        return
    for recipe in RECIPES:
        compiled = {
            f"{recipe}, compiled, B = {BASELINE_BATCH}": partial(
                _ours, sheet, recipe, BASELINE_BATCH, how="compiled"
            )
        }
        each(sheet, compiled, wants=COMPILE_SECONDS)


def _peaks(sheet: Sheet) -> None:
    """What products of square matrices reach in each type."""
    for dtype in (torch.float32, torch.bfloat16):
        peak = _peak(sheet, dtype)
        sheet.figure(f"product of matrices, {_short(dtype)}", peak / 1e12, "TFLOP/s")


def _plain(sheet: Sheet, recipe: str, batch: int) -> None:
    changes = ("precision=float32", "resources.cuda_graph=false")
    step = Step(_experiment(sheet, recipe, batch, *changes), sheet.device, plain=True)
    _told(sheet, f"{recipe}, plain float32, B = {batch}", step, batch)


def _ours(sheet: Sheet, recipe: str, batch: int, *, how: str = "") -> None:
    """A form of the step, recorded as one launch but where `how` it runs is given."""
    changes = ("precision=auto", f"resources.cuda_graph={'false' if how else 'true'}")
    step = Step(_experiment(sheet, recipe, batch, *changes), sheet.device)
    flops = 3 * forward_flops(step)
    if how == "compiled":
        for network in step.method.networks():
            network.compile()
    word = f"{how}, " if how else ""
    name = f"{recipe}, {word}{_short(step.dtype)}, B = {batch}"
    images_per_s = _told(sheet, name, step, batch)
    reached = flops * images_per_s / batch
    sheet.figure(f"{name}: share of the peak", reached / _peak(sheet, step.dtype), "of 1")


def _peak(sheet: Sheet, dtype: torch.dtype) -> float:
    return peak_flops(dtype, sheet.device, 512 if sheet.small else MATRIX)


def _experiment(sheet: Sheet, recipe: str, batch: int, *changes: str) -> Experiment:
    """At the paper's size on a card; small enough to try the kit itself on a CPU."""
    if sheet.small:
        return small_recipe(recipe, f"batch_size={batch}", *changes)
    return at_paper_size(recipe, batch, *changes)


def _told(sheet: Sheet, name: str, step: Step, batch: int) -> float:
    """Images a second of a form, written down with its memory."""
    forget_peak(sheet.device)
    speed = rate(batch, timed(sheet, step, 0.2 if sheet.small else SECONDS))
    sheet.figure(name, speed.pop("value"), "images/s", **speed)
    if not sheet.small:
        sheet.figure(f"{name}: memory", peak_gib(sheet.device), "GiB")
    return float(sheet.records[-1 if sheet.small else -2]["value"])


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
