"""How many trials share a device, by the memory that such trials were measured to hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from pg_platform.config.experiment import Resources
from pg_platform.driver.speeds import Pace

HEADROOM = 1.15
"""What a trial is given over the most that one of its shape held."""


def packed(
    resources: Resources, shapes: Collection[str], paces: Mapping[str, Sequence[Pace]]
) -> Resources:
    """`resources` with a share of the device in which a trial of each of the `shapes` fits.

    The largest shape decides, so that trials of a sweep stay exchangeable: `gpus_per_worker` in
    hundredths, at most 1, where a trial has a GPU; `gib_per_worker` in tenths where it has none.
    Raises ValueError where the memory of a shape was never measured.
    """
    peaks = [most for each in shapes if (most := _peak(paces.get(each, ()))) is not None]
    if len(peaks) < len(shapes):
        raise ValueError(
            f"resources.pack is auto and the memory of {len(shapes) - len(peaks)} of {len(shapes)} "
            "shapes was not measured: do that with --dry-run --calibrate, or with pack: none"
        )
    if not peaks:
        return resources
    peak, has = max(peaks)
    if resources.gpus_per_worker == 0:
        return resources.model_copy(update={"gib_per_worker": _up(peak * HEADROOM, 10)})
    share = min(1.0, _up(peak * HEADROOM / has, 100))
    return resources.model_copy(update={"gpus_per_worker": share})


def told_share(resources: Resources) -> str:
    """What `packed` has chosen, in words."""
    if resources.gpus_per_worker:
        return f"{resources.gpus_per_worker:g} of a GPU"
    return f"{resources.gib_per_worker:g} GiB of the host's memory"


def _peak(paces: Sequence[Pace]) -> tuple[float, float] | None:
    """The most that was held, and what that device has, in GiB; of the device measured last."""
    here = [pace for pace in paces if pace.device == paces[-1].device]
    known = [
        (pace.peak_gib, pace.device_gib)
        for pace in here
        if pace.peak_gib is not None and pace.device_gib is not None
    ]
    return max(known, default=None)


def _up(value: float, parts: int) -> float:
    return math.ceil(value * parts) / parts
