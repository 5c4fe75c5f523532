"""Success of the communication, and the loss that asks for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pg_platform.config.experiment import Contrast
from pg_platform.game.collectives import rank
from pg_platform.game.contrast import symmetric_infonce


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
