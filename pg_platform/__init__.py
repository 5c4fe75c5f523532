"""PatchGame as an experiment and sweep platform; from Python all that stands in `__all__`.

Nothing heavy is imported before it is used: a name below brings its file when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pg_platform.api import (
        Run,
        load_experiment,
        load_run,
        load_sweep,
        plan,
        results,
        run_sweep,
        train,
    )
    from pg_platform.config.errors import ConfigError, DataError, InfrastructureError
    from pg_platform.driver.driver import SweepResult, TrainResult, TrialFailedError
    from pg_platform.driver.resume import Retry
    from pg_platform.evaluation.messages import Messages
    from pg_platform.files import AlreadyRunningError
    from pg_platform.store.client import StoreError
    from pg_platform.training.checkpoint import CheckpointError

__all__ = [
    "AlreadyRunningError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "InfrastructureError",
    "Messages",
    "Retry",
    "Run",
    "StoreError",
    "SweepResult",
    "TrainResult",
    "TrialFailedError",
    "load_experiment",
    "load_run",
    "load_sweep",
    "plan",
    "results",
    "run_sweep",
    "train",
]

_ELSEWHERE = {
    "AlreadyRunningError": "files",
    "CheckpointError": "training.checkpoint",
    "ConfigError": "config.errors",
    "DataError": "config.errors",
    "InfrastructureError": "config.errors",
    "Messages": "evaluation.messages",
    "Retry": "driver.resume",
    "StoreError": "store.client",
    "SweepResult": "driver.driver",
    "TrainResult": "driver.driver",
    "TrialFailedError": "driver.driver",
}
"""Public names whose file is not api.py."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
