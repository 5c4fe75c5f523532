"""Agents that have learned nothing, as evaluations are given them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pg_platform.config.experiment import Experiment
from pg_platform.evaluation.trained import Trained
from pg_platform.methods import build
from tests.small import SMALL, merged, without_nulls

DIGITS = {"kind": "digits", "image_size": 16}


def agents(changes: Mapping[str, Any], folder: Path = Path("untrained")) -> Trained:
    """The small experiment on digits, with some changes, before its first step.

    `folder` is where its checkpoint would lie, and where its message bank does.
    """
    experiment = Experiment.model_validate(
        without_nulls(merged({**SMALL, "data": DIGITS}, changes))
    )
    method = build(experiment).eval()
    return Trained(folder / "step-0", experiment, method, torch.device("cpu"))
