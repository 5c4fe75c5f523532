"""An evaluation of one's own: how often two images of one class get the same message.

    pg-eval examples/own_eval.py RUN --set images=500

RUN is a run id, a checkpoint's folder or the name of a sweep. The numbers go back to the run.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt

from pg_platform.config.section import Section
from pg_platform.evaluation.games import play_validation
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained


class Options(Section):
    """`images` of the validation split are compared, each with each."""

    images: PositiveInt = 1000


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Shares of equal messages among pairs of one class and of two; ValueError without labels."""
    played = play_validation(trained)
    labels = played.labels[: options.images]
    if (labels < 0).any() or len(labels.unique()) < 2:
        raise ValueError("wants images with labels of two classes at least")
    # A symbol that was not sent is as good as none.
    ids = played.decided.ids + 1  # (n, patches, symbols per patch)
    said = (ids * (played.decided.gate > 0)[:, :, None]).flatten(1)[: len(labels)]
    equal = (said[:, None] == said[None]).all(dim=2)
    alike = labels[:, None] == labels[None]
    other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    within = equal[alike & other].double().mean().item()
    between = equal[~alike].double().mean().item()
    return EvaluationResult({"own_eval/equal_within": within, "own_eval/equal_between": between})
