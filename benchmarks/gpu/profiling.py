"""Where a step's time goes on the card: the longest kernels, the gaps between them, the waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.figures import Sheet, each, wait
from benchmarks.gpu.settings import at_paper_size, small_recipe
from benchmarks.step import Step

STEPS, NAMED = 5, 10
WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def profiling(sheet: Sheet) -> None:
    """Five steps of the recipe photos and of official."""
    batch = 64 if sheet.small else 256
    for recipe in ("photos", "official"):
        name = f"{recipe}, B = {batch}"
        each(sheet, {name: partial(_profiled, sheet, recipe, batch)}, wants=sheet.wants(5.0))


def _profiled(sheet: Sheet, recipe: str, batch: int) -> None:
    asked = small_recipe(recipe) if sheet.small else at_paper_size(recipe, batch, "precision=auto")
    step = Step(asked, sheet.device)
    for _ in range(1 if sheet.small else 5):
        step()
    wait(sheet.device)
    kinds = [ProfilerActivity.CPU]
    if not sheet.small:
        kinds.append(ProfilerActivity.CUDA)
    with profile(activities=kinds) as profiler:
        for _ in range(1 if sheet.small else STEPS):
            step()
        wait(sheet.device)
    _tell(sheet, f"{recipe}, B = {batch}", profiler)
    profiler.export_chrome_trace(str(sheet.kept / f"profile-{recipe}.json.gz"))


def _tell(sheet: Sheet, name: str, profiler: Any) -> None:
    events = list(profiler.events())
    on_device = DeviceType.CPU if sheet.small else DeviceType.CUDA
    ours = [event for event in events if event.device_type == on_device and not event.is_async]
    if sheet.small:
        ours = [event for event in ours if not event.cpu_children]
    totals: Counter[str] = Counter()
    for event in ours:
        totals[event.name] += event.time_range.elapsed_us()
    whole = sum(totals.values())
    for kernel, taken in totals.most_common(NAMED):
        share = taken / whole
        sheet.figure(f"{name}: {kernel[:90]}", share, "of the kernels' time")
    if not sheet.small:
        busy, span = _busy(ours)
        sheet.figure(f"{name}: gaps between kernels", 1 - busy / span, "of the time")
        waits = Counter(event.name for event in events if event.name in WAITS)
        told = ", ".join(f"{n} {kind}" for kind, n in waits.items()) or "none"
        sheet.note(f"{name}: waits in {STEPS} steps and the end", told)
        sheet.figure(f"{name}: kernels a step", len(ours) / STEPS, "launches")


def _busy(events: Iterable[Any]) -> tuple[float, float]:
    """Microseconds in which the device had something to do, and from first to last."""
    ranges = sorted((event.time_range.start, event.time_range.end) for event in events)
    busy, until = 0.0, ranges[0][0]
    for start, end in ranges:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy, max(until - ranges[0][0], 1e-9)
