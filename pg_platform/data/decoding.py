"""Images in files, decoded and cut in uint8 on the host, in other processes if so wished."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, tee
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

from pg_platform.config.experiment import Crop
from pg_platform.data.crops import Cuts, cut, cut_plain, random_boxes
from pg_platform.data.image_set import Encoded, Images
from pg_platform.data.loader_processes import (
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    check_shared_memory,
    chunk_size,
    chunks_ahead,
    no_room,
    patiently,
    shared_bytes,
)

_TORCHVISIONS_PLACE = re.compile(r"^.*\.cpp:\d+, ")


@dataclass(frozen=True)
class Decoder:
    """Cuts views of `size` from the encoded images of a split; `law` None cuts the plain view."""

    images: Images
    encoded: Encoded
    law: Crop | None
    size: int
    patience: float = PATIENCE_SECONDS
    """Seconds that a chunk of another process is waited for."""

    def views(self, cuts: Iterable[Cuts], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """For each of `cuts`, what is cut, and the positions (n,) that are shown.

        Views are (views, n, 3, size, size) uint8 on `device`. The next image of the split that
        can be decoded stands in for a broken one, and its position is the one shown. Raises
        ValueError when too many are broken (Images.report_broken), or where shared memory is too
        small for the processes that decode, and LoaderLostError where one of those is lost. They
        end with the iterator.
        """
        cuts = iter(cuts)
        first = next(cuts, None)
        if first is None:
            return
        self._check_room(first)
        cuts, ahead = tee(chain([first], cuts))
        parts = self._parts((task for one in ahead for task in _tasks(one)), device)
        for one in cuts:
            # in a function of its own, which lets go of the chunks and of their shared memory
            yield self._batch([next(parts) for _ in _tasks(one)], device)

    def _check_room(self, cuts: Cuts) -> None:
        views, images = cuts.uniform.shape[:2]
        check_shared_memory(shared_bytes(images, views, self.size, self.encoded.processes))

    def _batch(self, parts: list[_Decoded], device: torch.device) -> tuple[Tensor, Tensor]:
        for part in parts:
            self.images.report_broken(part.broken)
        ahead = device.type == "cuda"  # MPS may read what is gone by then
        return (
            torch.cat([part.views.to(device, non_blocking=ahead) for part in parts], dim=1),
            torch.tensor([position for part in parts for position in part.positions]),
        )

    def _parts(self, tasks: Iterable[_Task], device: torch.device) -> Iterator[_Decoded]:
        processes = self.encoded.processes
        loader = DataLoader(
            _Decoding(self),
            batch_size=None,
            sampler=tasks,
            num_workers=processes,
            prefetch_factor=chunks_ahead(processes) if processes else None,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or it draws a seed from the global one
            timeout=LOOK_SECONDS if processes else 0,
        )
        return patiently(loader, self.patience) if processes else iter(loader)


def decode(data: bytes) -> Tensor:
    """(3, h, w) uint8 of a JPEG, PNG, WEBP or GIF, of which the first frame.

    Raises RuntimeError or ValueError where `data` are no such image.
    """
    if not data:
        raise ValueError("no bytes")
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    image: Tensor = decode_image(raw, ImageReadMode.RGB)
    if image.ndim == 4:
        image = image[0]
    whole: Tensor = F.to_dtype(image, torch.uint8, scale=True)  # a PNG may have 16 bits
    return whole


class _Task(NamedTuple):
    """A part of some cuts, in types that cross to another process by value."""

    positions: list[int]
    uniform: NDArray[np.float32]  # (views, n, CROP_DRAWS)


class _Decoded(NamedTuple):
    """What became of a task."""

    views: Tensor  # (views, n, 3, size, size) uint8
    positions: list[int]
    broken: list[tuple[int, str]]


def _tasks(cuts: Cuts) -> Iterator[_Task]:
    chunk = chunk_size(len(cuts.positions))
    for start in range(0, len(cuts.positions), chunk):
        rows = slice(start, start + chunk)
        yield _Task(cuts.positions[rows].tolist(), cuts.uniform[:, rows].numpy())


class _Decoding(Dataset[_Decoded]):
    """Tasks in, views out; the same whichever process asks, and nothing is kept in between."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def __getitem__(self, task: _Task) -> _Decoded:
        broken: list[tuple[int, str]] = []
        found = [self._next_whole(position, broken) for position in task.positions]
        originals = [image for image, _ in found]
        views = _shared(self._cut(originals, torch.from_numpy(task.uniform)))
        return _Decoded(views, [position for _, position in found], broken)

    def _next_whole(self, position: int, broken: list[tuple[int, str]]) -> tuple[Tensor, int]:
        """The first image from `position` on that can be decoded, and its own position.

        Where so many are broken that the run will stop, a black picture ends the search.
        """
        encoded, images = self.decoder.encoded, self.decoder.images
        for candidate in range(position, position + images.broken_allowed + 1):
            candidate %= len(images)
            try:
                return encoded.image(candidate), candidate
            except (OSError, RuntimeError, ValueError) as problem:
                reason = _TORCHVISIONS_PLACE.sub("", str(problem))
                broken.append((candidate, f"{encoded.name(candidate)}: {reason}"))
        return torch.zeros(3, 1, 1, dtype=torch.uint8), position

    def _cut(self, originals: list[Tensor], uniform: Tensor) -> Tensor:
        """(views, n, 3, size, size) from n images of any sizes."""
        views, size, law = len(uniform), self.decoder.size, self.decoder.law
        if law is None:
            plain = torch.stack([cut_plain(image, size) for image in originals])
            return plain.repeat(views, 1, 1, 1, 1)
        heights, widths = torch.tensor([image.shape[1:] for image in originals]).repeat(views, 1).T
        boxes = random_boxes(uniform.flatten(0, 1), law, heights, widths)
        cuts = [cut(image, box, size) for image, box in zip(originals * views, boxes, strict=True)]
        return torch.stack(cuts).view(views, -1, 3, size, size)


def _shared(views: Tensor) -> Tensor:
    """`views`, in shared memory where another process is to have them.

    They would be put there on their way, in a thread that can tell nobody that there is no room.
    Raises NoRoomError.
    """
    if get_worker_info() is None:
        return views
    try:
        shared: Tensor = views.share_memory_()
    except (OSError, RuntimeError):
        # without the cause, whose words are those of a full disk
        raise no_room(views.nbytes) from None
    return shared
