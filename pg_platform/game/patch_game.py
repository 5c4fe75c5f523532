"""One round of the game: speaker -> message -> listener -> loss (Fig. 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pg_platform.config.experiment import Experiment
from pg_platform.game.batch_norm import batch_norms
from pg_platform.game.listener import PatchListener
from pg_platform.game.loss import ContrastiveLoss
from pg_platform.game.message import Message
from pg_platform.game.sampling import Noise, symbol_temperature
from pg_platform.game.speaker import PatchSpeaker


@dataclass(frozen=True)
class GameOutput:
    """A round with decided messages: row i of everything belongs to image i.

    The products of `text` and `image` (batch, out) are cosines, `ids` (batch, patches, symbols per
    patch) int64 covers unsent patches too, `gate` (batch, patches) bool says which were sent (of a
    soft gate: those with 1/2 or more), `importance` (batch, patches) has mean 0 and variance 1 in
    each image.
    """

    text: Tensor
    image: Tensor
    ids: Tensor
    gate: Tensor
    importance: Tensor


class PatchGame(nn.Module):
    """Speaker and listener, trained together from scratch (sec. 3)."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.experiment = experiment
        self.speaker = PatchSpeaker(experiment)
        self.listener = PatchListener(experiment)
        self.loss = ContrastiveLoss(experiment.contrast)
        self.messages_to_check = experiment.discrete
        self.register_buffer("temperature", torch.zeros(()), persistent=False)
        for norm in batch_norms(self):
            norm.group = experiment.batch_norm_images

    def forward(
        self, views: tuple[Tensor, Tensor], *, progress: float | None, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and detached scalar metrics of a round with sampled messages.

        `views` are the speaker's and the listener's pixels, (rows, 3, side, side) each;
        `progress` is the share of all training steps that is done, None: as `set_progress` had it.
        """
        text, image, metrics = self.embed(views, progress=progress, noise=noise)
        loss, top1 = self.contrast(text, image)
        return loss, {"top1_batch": top1, **metrics}

    def contrast(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and in-batch top-1 of embeddings as `embed` gives them."""
        if (wide := self.listener.wide) is not None:
            text, image = wide.factors(text, image)
        contrasted: tuple[Tensor, Tensor] = self.loss(text, image)
        return contrasted

    def networks(self) -> Iterator[nn.Module]:
        """What most of the time goes into, and what torch.compile can take as it is."""
        yield from (self.listener.vision, self.listener.text, self.speaker.symbol)
        yield from (part for name, part in self.speaker.gates.named_children() if name == "rank")

    def resting(self, epoch: int) -> Iterator[nn.Parameter]:
        """The parameters that do not learn in `epoch`, counted from 0."""
        head = self.experiment.listener.head
        if self.listener.wide is not None and epoch < head.wide_frozen_epochs:
            yield from self.listener.wide.parameters()

    def embed(
        self, views: tuple[Tensor, Tensor], *, progress: float | None, noise: Noise
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Embeddings of sampled messages and of images, (rows, out) each, and what was said."""
        if progress is not None:
            self.set_progress(progress)
        temperature = self.get_buffer("temperature")
        message, _ = self.speaker(views[0], temperature, noise)
        if self.messages_to_check:  # once: it waits for the device
            message.assert_discrete()
            self.messages_to_check = False
        said = {
            "message_length": message.lengths().mean(),
            "symbol_temperature": temperature.clone(),
        }
        return self.listener.read(message), self.listener.look(views[1]), said

    def set_progress(self, progress: float) -> None:
        """What changes in the course of training, for the share of all steps that is done."""
        schedule, epochs = self.experiment.speaker.temperature, self.experiment.epochs
        self.get_buffer("temperature").fill_(symbol_temperature(schedule, progress, epochs))

    @torch.no_grad()
    def play(self, views: tuple[Tensor, Tensor]) -> GameOutput:
        """A round with the most probable messages, the same at every call.

        Raises ValueError in training mode, where embeddings depend on the rest of the batch.
        """
        if self.training:
            raise ValueError("play() wants eval mode; call eval() on the method first")
        end = self.experiment.speaker.temperature.end
        message, importance = self.speaker(views[0], end, None)
        if self.experiment.discrete:
            message.assert_discrete()
        return GameOutput(
            text=self.heard(message),
            image=self.seen(views[1]),
            ids=message.ids(),
            gate=message.gate >= 0.5,
            importance=importance,
        )

    @torch.no_grad()
    def heard(self, message: Message) -> Tensor:
        """What the listener makes of messages, (batch, out): cosines are its products with `seen`.

        A row depends on its own message only.
        """
        text, wide = self.listener.read(message), self.listener.wide
        return text if wide is None else wide.narrow_text(text)

    @torch.no_grad()
    def seen(self, images: Tensor) -> Tensor:
        """What the listener makes of images (batch, 3, side, side), likewise."""
        image, wide = self.listener.look(images), self.listener.wide
        return image if wide is None else wide.narrow_image(image)

    def features(self, images: Tensor) -> Tensor:
        """Vision features (batch, width) of images (batch, 3, side, side)."""
        return self.listener.features(images)
