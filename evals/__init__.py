"""One file per evaluation. Each has `Options` and `evaluate(trained, options)`."""

from __future__ import annotations

import pkgutil


def evaluation_names() -> list[str]:
    """The evaluations: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
