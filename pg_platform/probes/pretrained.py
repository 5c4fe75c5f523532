"""Weights of networks that others have trained: a file that the user gives, or a download."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, TypeVar

import timm
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision import models

from pg_platform.config.experiment import Experiment
from pg_platform.config.paths import IsPath
from pg_platform.config.seeds import stream
from pg_platform.data.image_set import subset
from pg_platform.data.images import Images
from pg_platform.data.loaders import EVALUATION_BATCH, plain_batches
from pg_platform.progress import tracked
from pg_platform.training.checkpoint import UNREADABLE, misfit
from pg_platform.training.hashes import weights_hash

N = TypeVar("N", bound=nn.Module)


DOWNLOAD = "download"


Weights = Annotated[str, Field(min_length=1), IsPath(DOWNLOAD)]
"""The option of an evaluation that wants such weights: the path of a file, or `download`."""


_UNREADABLE = (SafetensorError, *UNREADABLE)
"""What the two readers raise of files that are not theirs, by the first bytes of the file."""


def load_given(network: N, file: str, name: str) -> N:
    """`network` with the weights in `file`, in evaluation mode: every one, and no other.

    `file` is a safetensors file or a state dict that torch.load reads with weights_only; halves
    become float32. It may be `download`: what torchvision (IMAGENET1K_V1) or timm publishes for
    `name`. Raises ValueError where there is no file, it is of another network, or nothing comes.
    """
    path = Path(file).expanduser()
    if file == DOWNLOAD:
        state = _published(name)
    elif path.is_file():
        state = _state(path)
    else:
        raise ValueError(
            f"weights: no file {path}; fetch the weights of {name} on a connected machine and say "
            f"where they lie with --weights FILE (safetensors, or a state dict), or {DOWNLOAD}"
        )
    if (why := misfit(network, state)) is not None:
        raise ValueError(
            f"weights: {path} does not fit {name}: {why}; give the weights of that network, as it "
            "was published"
        )
    network.load_state_dict(state)
    return network.eval()


def weights_said(network: nn.Module, name: str) -> str:
    """A sentence for the words of an evaluation: whose numbers these are."""
    return f"The weights of {name} have the hash {weights_hash(network)[:12]}."


def _published(name: str) -> dict[str, Tensor]:
    try:
        if name in models.list_models():
            found: dict[str, Tensor] = models.get_model_weights(name)[
                "IMAGENET1K_V1"
            ].get_state_dict(check_hash=True)
            return found
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as problem:  # no network; a name without weights
        raise ValueError(
            f"weights: those of {name} cannot be downloaded here ({problem}); fetch them on a "
            "connected machine and give --weights FILE"
        ) from problem


def _state(path: Path) -> dict[str, Tensor]:
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except _UNREADABLE as problem:
        raise ValueError(_no_weights(path)) from problem
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(_no_weights(path))
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def _no_weights(path: Path) -> str:
    return (
        f"weights: {path} is neither a safetensors file nor a state dict, names with their "
        "tensors and nothing else; save one with torch.save(network.state_dict(), FILE)"
    )


def check_classes(outputs: int, class_index: tuple[int, ...], classes: int) -> Tensor:
    """The network's number of each class of the data, (classes,).

    `class_index` says it; empty, the numbers are the same. Raises ValueError where that cannot be.
    """
    if not class_index and outputs == classes:
        return torch.arange(classes)
    if len(class_index) != classes or max(class_index) >= outputs or min(class_index) < 0:
        raise ValueError(
            f"class_index: the network tells {outputs} classes apart and the data have {classes}; "
            f"give the network's number of each of them, --set class_index=[0,217,...], in the "
            "order of the data's classes"
        )
    return torch.tensor(class_index)


LR, WEIGHT_DECAY, WARMUP = 1e-3, 0.05, 0.1


_STEPS_AT_ONCE = 16


def train_small_vit(  # noqa: PLR0913 - size and length of a training
    images: Images,
    experiment: Experiment,
    device: torch.device,
    *,
    width: int,
    depth: int,
    steps: int,
    seed: int,
) -> VisionTransformer:
    """A timm ViT with the speaker's patches, in evaluation mode, on the device.

    It learns the labels of `images` in the plain view in `steps` batches of 256 drawn with
    replacement: AdamW, cosine after a warm-up. A function of `seed`. Raises ValueError where no
    image has a label.
    """
    labelled = (images.labels >= 0).nonzero()[:, 0]
    if not len(labelled):
        raise ValueError("data: no image of the train split has a label to train a small ViT on")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "small_vit"))
        vit = VisionTransformer(
            img_size=experiment.data.image_size,
            patch_size=experiment.speaker.patch_size,
            num_classes=len(images.classes),
            embed_dim=width,
            depth=depth,
            num_heads=max(1, width // 32),
        ).to(device)
    optimizer = torch.optim.AdamW(vit.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    own = torch.Generator().manual_seed(stream(seed, "small_vit", "order"))
    for first in tracked(range(0, steps, _STEPS_AT_ONCE), "small ViT"):
        count = min(_STEPS_AT_ONCE, steps - first) * EVALUATION_BATCH
        part = subset(images, labelled[torch.randint(len(labelled), (count,), generator=own)])
        for pixels, shown in plain_batches(part, experiment, device):
            loss = cross_entropy(vit(pixels), part.labels[shown].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return vit.eval()


def _share(step: int, steps: int) -> float:
    """Of the learning rate at `step`."""
    warm = (step + 1) / (WARMUP * steps)
    return min(1.0, warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
