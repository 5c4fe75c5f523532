"""Sec. 4.3 and Table 1, for other programs: messages, vision network and speaker without ours.

systems/...                         the messages as a corpus, in the layout of language/elcc.py
agents/VARIANT/vision.safetensors   the listener's vision network, for torchvision's ResNet without
                                    its fc, loaded with strict=True; left out where torchvision has
                                    no network of that shape
agents/VARIANT/speaker.pt2          torch.export of the speaker for any batch: normalised images
                                    (batch, 3, side, side) to symbol numbers (batch, patches,
                                    symbols per patch) int64, gates and importances (batch,
                                    patches); decided, no noise

VARIANT names the run and its checkpoint. They go to the run, and into the folder `to` where one is
given: there the runs of a sweep make one collection.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from pg_platform.config.experiment import Experiment, ResNet18Vision, ResNet50Vision
from pg_platform.config.paths import Location
from pg_platform.config.section import Section
from pg_platform.data.images import open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.data.views import MEAN, STD
from pg_platform.evaluation.games import say
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.game.listener import SMALL_IMAGE
from pg_platform.game.speaker import PatchSpeaker
from pg_platform.language.corpus import UNSENT, messages_of
from pg_platform.language.elcc import put_into, single, variant_files, variant_name

TORCHVISION_WIDTH = 64
"""Channels of the first stage of torchvision's ResNets."""


class Options(Section):
    """`split` is what the messages are about, in the plain view; `to` is a folder of exports."""

    split: Literal["train", "val"] = "val"
    to: Location | None = None


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """The files, how many messages and symbols they hold, and whether the program agrees.

    `export/speaker_disagreement` is the share of symbols and gates of one batch in which the
    reloaded program differs from the speaker. Raises ValueError where `to` holds something else.
    """
    experiment = trained.experiment
    variant = variant_name(experiment, trained.path, options.split)
    bank = open_bank(trained, options.split)
    messages = [row[row != UNSENT].tolist() for row in messages_of(bank, np.arange(len(bank)))]
    speaker = exported_speaker(trained)
    files = variant_files(experiment, variant, messages, _facts(trained, messages, options))
    agents = {"speaker.pt2": speaker}
    misfit = torchvision_misfit(experiment)
    if misfit is None:
        agents["vision.safetensors"] = _vision(trained)
    files |= {f"agents/{variant}/{name}": content for name, content in agents.items()}
    if options.to is not None:
        put_into(Path(options.to).expanduser(), files, experiment, variant)
    tokens = sum(map(len, messages))
    return EvaluationResult(
        {
            "export/messages": len(messages),
            "export/symbols_per_message": tokens / len(messages),
            "export/speaker_disagreement": _disagreement(trained, speaker),
        },
        files=files | single(experiment, variant),
        words="\n".join(_words(variant, misfit, options)),
    )


def torchvision_misfit(experiment: Experiment) -> str | None:
    """Why the vision network is none of torchvision's; None where it is one."""
    match experiment.listener.vision:
        case ResNet18Vision(width=width) | ResNet50Vision(width=width):
            if width != TORCHVISION_WIDTH:
                return f"its first stage has {width} channels, torchvision's {TORCHVISION_WIDTH}"
            if experiment.data.image_size <= SMALL_IMAGE:
                return f"images of {experiment.data.image_size} px have a stem of 3 x 3"
            return None
        case vision:
            return f"a {vision.kind} is no ResNet"


def exported_speaker(trained: Trained) -> bytes:
    """The decided speaker as a program of torch.export, batch dynamic."""
    side = trained.experiment.data.image_size
    example = torch.zeros(2, 3, side, side, device=trained.device)
    program = torch.export.export(
        _Decided(trained.game.speaker, trained.experiment).eval(),
        (example,),
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


class _Decided(nn.Module):
    """The speaker's decisions as plain tensors."""

    def __init__(self, speaker: PatchSpeaker, experiment: Experiment) -> None:
        super().__init__()
        self.speaker, self.temperature = speaker, experiment.speaker.temperature.end

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        message, importance = self.speaker(images, self.temperature, None)
        return message.ids(), message.gate, importance


def _facts(trained: Trained, messages: list[list[int]], options: Options) -> Mapping[str, Any]:
    """What is known of the corpus, and how pixels are normalised for the program."""
    experiment = trained.experiment
    return {
        "split": options.split,
        "messages": len(messages),
        "empty_messages": sum(not message for message in messages),
        "tokens": sum(map(len, messages)),
        "pixels": {"size": experiment.data.image_size, "mean": MEAN, "std": STD},
        "experiment": experiment.deciding(),
    }


def _vision(trained: Trained) -> bytes:
    """Parameters and statistics under torchvision's names, which are ours too."""
    state = trained.game.listener.vision.state_dict()
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content: bytes = save(plain, {"architecture": trained.experiment.listener.vision.kind})
    return content


@torch.no_grad()
def _disagreement(trained: Trained, speaker: bytes) -> float:
    """The share of one batch's symbols and gates that the program decides otherwise."""
    images = open_images(trained.experiment.data, "val")
    pixels, _ = next(plain_batches(images, trained.experiment, trained.device))
    ids, gate, _ = torch.export.load(io.BytesIO(speaker)).module()(pixels)
    message = say(trained.game, pixels, None)
    differs = torch.cat(
        ((ids != message.ids()).flatten(), ((gate >= 0.5) != (message.gate >= 0.5)).flatten())
    )
    return differs.double().mean().item()


def _words(variant: str, misfit: str | None, options: Options) -> Iterator[str]:
    places = "the run" if options.to is None else f"the run and to {options.to}"
    yield f"Written to {places} as {variant}."
    if misfit is not None:
        yield f"The vision network is left out: {misfit}."
