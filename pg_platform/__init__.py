"""PatchGame as an experiment and sweep platform: the functions that the commands use.

import pg_platform as pg

sweep = pg.load_sweep("smoke", ["seeds=3"])
pg.run_sweep(sweep, local=True)
print(pg.results(sweep, by="point"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pg_platform.api import (
        Messages,
        Run,
        load_run,
        load_sweep,
        plan,
        results,
        run_sweep,
        train,
    )
    from pg_platform.config.errors import DataError, InfrastructureError
    from pg_platform.config.experiment import Experiment
    from pg_platform.config.section import ConfigError
    from pg_platform.sweep.load import Sweep, load_experiment

__all__ = [
    "ConfigError",
    "DataError",
    "Experiment",
    "InfrastructureError",
    "Messages",
    "Run",
    "Sweep",
    "load_experiment",
    "load_run",
    "load_sweep",
    "plan",
    "results",
    "run_sweep",
    "train",
]

_LIGHT = {
    "ConfigError": "config.section",
    "DataError": "config.errors",
    "Experiment": "config.experiment",
    "InfrastructureError": "config.errors",
    "Sweep": "sweep.load",
    "load_experiment": "sweep.load",
}
"""Names that are not those of api.py, which imports torch, pandas and the store."""


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: `--help` wants none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LIGHT.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
