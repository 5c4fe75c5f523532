"""Success of the communication, and the loss that asks for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pg_platform.game.collectives import gather, rank


class ContrastiveLoss(nn.Module):
    """Symmetric InfoNCE over the global batch (eq. 1-3), as a mean and with a learned scale.

    The scale, 1/tau of eq. 1-2, starts at `start` and is held at or below `most`.
    """

    def __init__(self, start: float, most: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)))
        self.most = most

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and the share of messages that find their image among the global batch.

        `text` and `image` (rows, width) are this worker's, L2-normalised; row i of both belongs
        together. The mean of the loss over the workers is the loss of the global batch.
        """
        with torch.autocast(text.device.type, enabled=False):
            text, image = text.float(), image.float()
            scale = self._scale()
            to_images = scale * text @ gather(image).T  # (rows, global batch)
            to_messages = scale * image @ gather(text).T
            own = rank() * len(text) + torch.arange(len(text), device=text.device)
            loss = (F.cross_entropy(to_images, own) + F.cross_entropy(to_messages, own)) / 2
        return loss, (to_images.detach().argmax(dim=1) == own).float().mean()

    def _scale(self) -> Tensor:
        # Held in place, as CLIP does: a clamp in the graph has no gradient beyond its bound,
        # and the scale could never come down again.
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(self.most))
        return self.log_scale.exp()
