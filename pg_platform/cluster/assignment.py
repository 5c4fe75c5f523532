"""What a trial's process is told to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pg_platform.config.experiment import Resources


@dataclass(frozen=True)
class Assignment:
    """What a trial's process is told; plain values, so that Tune can store it."""

    trial_id: str
    experiment: str
    folder: str
    until: int | None
    segment: int
    """Which segment of the sweep it is: Train takes an equal name for a run to go on with."""

    def config(self) -> dict[str, Any]:
        """The form in which Tune carries it."""
        return asdict(self)


def request(resources: Resources) -> dict[str, float]:
    """What one worker asks Ray for; memory in bytes."""
    wanted = {
        "CPU": resources.cpus_per_worker,
        "GPU": resources.gpus_per_worker,
        "memory": int(resources.gib_per_worker * 2**30),
    }
    return {name: float(amount) for name, amount in wanted.items() if amount}


class LostError(RuntimeError):
    """A trial was ended by what may pass, as the death of a process; its text is that of `told`."""


class LastingError(RuntimeError):
    """A trial was ended by what would come again; its text is that of `told`."""
