"""Parts of the game that come from outside the package, see config/custom.py."""

from __future__ import annotations

from torch import nn

from pg_platform.config.custom import Custom
from pg_platform.config.experiment import Experiment


def build_custom(custom: Custom, experiment: Experiment) -> nn.Module:
    """The module of a class from outside; ValueError where its source is another than it was."""
    module: nn.Module = custom.load()(experiment, custom.options)
    return module


def features_width(vision: nn.Module) -> int:
    """How wide the features are that a network from outside gives; ValueError where it says not."""
    width = getattr(vision, "width", None)
    if not isinstance(width, int) or width < 1:
        raise ValueError(
            f"{type(vision).__name__}.width wants to be the width of its features, an int; "
            f"it is {width!r}"
        )
    return width
