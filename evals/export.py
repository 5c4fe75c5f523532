"""Sec. 4.3 and Table 1, for other programs: messages, vision network and speaker without ours.

corpus.jsonl         the messages in the layout of the Emergent Language Corpus Collection (Boldt
                     and Mortensen 2024), which XferBench reads: a list of integers a line, the sent
                     symbols of one image row by row
metadata.json        where they come from, and how pixels are normalised
vision.safetensors   the listener's vision network, for torchvision's ResNet without its fc, loaded
                     with strict=True; left out where torchvision has no network of that shape
speaker.pt2          torch.export of the speaker for any batch: normalised images (batch, 3, side,
                     side) to symbol numbers (batch, patches, symbols per patch) int64, gates and
                     importances (batch, patches); decided, no noise

They go to the run, or into the folder `to`, which must not hold an export already.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from pg_platform.config.document import Section
from pg_platform.config.experiment import Experiment, ResNet18Vision, ResNet50Vision
from pg_platform.data.images import open_images
from pg_platform.data.loaders import plain_batches
from pg_platform.data.views import MEAN, STD
from pg_platform.game.listener import SMALL_IMAGE
from pg_platform.game.speaker import PatchSpeaker
from pg_platform.results.measured import Measured
from pg_platform.results.rounds import say
from pg_platform.results.trained import Trained

TORCHVISION_WIDTH = 64
"""Channels of the first stage of torchvision's ResNets."""


class Options(Section):
    """`split` is what the messages are about, in the plain view; `to` null: the run."""

    split: Literal["train", "val"] = "val"
    to: str | None = None


def evaluate(trained: Trained, options: Options) -> Measured:
    """The files, how many messages and symbols they hold, and whether the program agrees.

    `export/speaker_disagreement` is the share of symbols and gates of one batch in which the
    reloaded program differs from the speaker. Raises ValueError where `to` holds an export.
    """
    messages = list(_messages(trained, options.split))
    speaker = exported_speaker(trained)
    files = {
        "corpus.jsonl": "".join(json.dumps(message) + "\n" for message in messages).encode(),
        "metadata.json": json.dumps(_metadata(trained, messages, options), indent=2).encode(),
        "speaker.pt2": speaker,
    }
    misfit = torchvision_misfit(trained.experiment)
    if misfit is None:
        files["vision.safetensors"] = _vision(trained)
    if options.to is not None:
        _write(Path(options.to).expanduser(), files)
    tokens = sum(map(len, messages))
    return Measured(
        {
            "export/messages": len(messages),
            "export/symbols_per_message": tokens / len(messages),
            "export/speaker_disagreement": _disagreement(trained, speaker),
        },
        files=files if options.to is None else {},
        words="\n".join(_words(files, misfit, options)),
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


@torch.no_grad()
def _messages(trained: Trained, split: Literal["train", "val"]) -> Iterator[list[int]]:
    """The sent symbols of each image, row by row; of a soft gate those with 1/2 or more."""
    images = open_images(trained.experiment.data, split)
    for pixels, _ in plain_batches(images, trained.experiment, trained.device):
        message = say(trained.game, pixels, None)
        for ids, sent in zip(message.ids().cpu(), message.gate.cpu() >= 0.5, strict=True):
            yield ids[sent].flatten().tolist()


def _metadata(trained: Trained, messages: list[list[int]], options: Options) -> Mapping[str, Any]:
    experiment = trained.experiment
    return {
        "system": "PatchGame",
        "variant": trained.path.parent.name,
        "game_type": "signalling",
        "data_source": "synthetic" if experiment.data.kind == "shapes" else "natural",
        "split": options.split,
        "messages": len(messages),
        "empty_messages": sum(not message for message in messages),
        "tokens": sum(map(len, messages)),
        "vocab_size": experiment.speaker.vocab_size,
        "symbols_per_patch": experiment.speaker.symbols_per_patch,
        "patches": experiment.patches,
        "discrete": experiment.discrete,
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


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    if (folder / "metadata.json").exists():
        raise ValueError(f"to: {folder} holds an export already; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _words(files: Mapping[str, bytes], misfit: str | None, options: Options) -> Iterator[str]:
    yield f"Written to {options.to or 'the run'}: {', '.join(files)}."
    if misfit is not None:
        yield f"The vision network is left out: {misfit}."
