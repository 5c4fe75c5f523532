"""Success of the communication, and the loss that asks for it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.config.experiment import Contrast
from pg_platform.game.collectives import gather_detached, rank, world

Gather = Literal["whole", "detached"]


def symmetric_infonce(
    text: Tensor, image: Tensor, scale: Tensor, gather: Gather
) -> tuple[Tensor, Tensor]:
    """Mean of eq. 1 and 2 over this worker's rows; its logits to images (rows, global batch).

    `text` and `image` (rows, width) are this worker's, row i of both belongs together, text @
    image.T are cosines and `scale` () is 1/tau. With `gather: whole` the gradient of a row is
    the sum of what all workers' losses want of it: DistributedDataParallel's mean is then the
    gradient of one process with the global batch. With `detached` only queries are pulled, as
    in the authors' code: half the norm, with one worker too.
    """
    start = rank() * len(text)
    own = torch.arange(start, start + len(text), device=text.device)
    cosines = _cosines(text, image, gather)
    logits = scale * cosines
    losses = F.cross_entropy(logits.flatten(0, 1), own.repeat(2), reduction="none")
    loss = losses.mean()
    if world() > 1 and gather == "whole":
        wanted = _pull_on_keys(logits, losses.view(2, -1), start)
        pull = (wanted * cosines).sum() * (scale.detach() / len(losses))
        loss = loss + (pull - pull.detach())
    return loss, logits[0]


def _cosines(text: Tensor, image: Tensor, gather: Gather) -> Tensor:
    """Of texts with all images, and of images with all texts: (2, rows, global batch)."""
    if world() == 1 and gather == "whole":
        cosines = text @ image.T
        return torch.stack((cosines, cosines.T))
    texts, images = gather_detached(torch.cat((text, image), dim=1)).split(text.shape[1], dim=1)
    return torch.stack((text @ images.T, image @ texts.T))


@torch.no_grad()
def _pull_on_keys(logits: Tensor, losses: Tensor, start: int) -> Tensor:
    """What all workers' losses want of this worker's rows as keys: a gradient for its logits.

    A row that asks in one direction is a key in the other, whose loss of query j is the
    logsumexp of j's logits less the matching one. Its gradient for one of them is
    exp(logit - logsumexp of j), so no more than logsumexps needs to be exchanged.
    `logits` (2, rows, global batch) of both directions, `losses` (2, rows).
    """
    rows = logits.shape[1]
    matching = logits[:, :, start : start + rows].diagonal(dim1=1, dim2=2)
    norms = gather_detached((losses + matching).T)  # (global batch, 2)
    of_keys = norms.T.flip(0).unsqueeze(1)  # a text is a key to images, an image to texts
    pull = (logits - of_keys).exp_()
    pull[:, :, start : start + rows].diagonal(dim1=1, dim2=2).sub_(1)
    return pull


class ContrastiveLoss(nn.Module):
    """Symmetric InfoNCE over the global batch (eq. 1-3).

    The scale is 1/tau of eq. 1-2: learned, and held where tau is `min_temperature` or more, or
    constant.
    """

    def __init__(self, contrast: Contrast) -> None:
        super().__init__()
        start = torch.tensor(-math.log(contrast.temperature))
        if contrast.learned:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start)
        self.settings = contrast

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and the share of messages that find their image among the global batch.

        `text` and `image` (rows, width) are this worker's, their products cosines; row i of both
        belongs together. The mean of the loss over the workers is the loss of the global batch.
        """
        with torch.autocast(text.device.type, enabled=False):
            loss, to_images = symmetric_infonce(
                text.float(), image.float(), self.scale(), self.settings.gather
            )
            if self.settings.reduction == "sum":
                loss = loss * to_images.shape[1]
        own = rank() * len(text) + torch.arange(len(text), device=text.device)
        return loss, (to_images.detach().argmax(dim=1) == own).float().mean()

    def scale(self) -> Tensor:
        """1/tau, ()."""
        # Held in place, as CLIP does: a clamp in the graph has no gradient beyond its bound,
        # and the scale could never come down again.
        if self.settings.min_temperature is not None:
            with torch.no_grad():
                self.log_scale.clamp_(max=-math.log(self.settings.min_temperature))
        return self.log_scale.exp()
