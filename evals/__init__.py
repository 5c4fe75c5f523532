"""One file per evaluation. Each has `Options` and `evaluate(trained, options)`."""

from __future__ import annotations

import pkgutil


def evaluation_names() -> list[str]:
    """The evaluations: the files of this folder; its subfolders hold what they share."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)
