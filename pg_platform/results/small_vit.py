"""A small supervised vision transformer, trained where no weights are given."""

from __future__ import annotations

import math

import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn.functional import cross_entropy

from pg_platform.config.experiment import Experiment
from pg_platform.config.seeds import stream
from pg_platform.data.image_set import subset
from pg_platform.data.images import Images
from pg_platform.data.loaders import EVALUATION_BATCH, plain_batches
from pg_platform.progress import tracked

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
