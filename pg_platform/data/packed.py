"""One split of a pack, read as it is needed; the page cache is shared by all who read it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pg_platform.config.experiment import Packed
from pg_platform.data.image_set import Images
from pg_platform.data.listing import Split
from pg_platform.data.packs import Pack, read_pack


def open_packed(data: Packed, split: Split) -> Images:
    """One split of a pack, as the source of the pack had it, or by the hash of each id.

    Raises ValueError where the pack is damaged or made for another image_size.
    """
    pack = read_pack(data)
    rows = [shard.rows(split, data.val_fraction) for shard in pack.shards]
    chosen = list(zip(pack.shards, rows, strict=True))
    ids = [shard.ids[row] for shard, own in chosen for row in own]
    labels = [shard.labels[row] for shard, own in chosen for row in own]
    return Images(
        classes=tuple(pack.manifest.classes),
        labels=torch.tensor(labels, dtype=torch.int64),
        ids=ids,
        pixels=PackedPixels(
            pack.pixels(),
            _places(pack, rows),
            data.loader_processes,
        ),
    )


@dataclass(frozen=True)
class PackedPixels:
    """Raw pixels in `files`; `places` (n, 4) int64 are file, offset, height and width of each."""

    files: list[Path]
    places: Tensor
    processes: int

    def image(self, position: int) -> Tensor:
        """(3, h, w) uint8; ValueError where the file has become too short, OSError if gone."""
        number, offset, height, width = self.places[position].tolist()
        # not a map of the file: it would hold a descriptor for each of some thousand shards
        raw = np.fromfile(self.files[number], np.uint8, 3 * height * width, offset=offset)
        return torch.from_numpy(raw.reshape(3, height, width))

    def name(self, position: int) -> str:
        """Its shard and offset."""
        number, offset, *_ = self.places[position].tolist()
        return f"{self.files[number]} byte {offset}"


def _places(pack: Pack, rows: list[list[int]]) -> Tensor:
    found = (
        (number, shard.offsets[row], shard.heights[row], shard.widths[row])
        for number, (shard, own) in enumerate(zip(pack.shards, rows, strict=True))
        for row in own
    )
    flat = np.fromiter(chain.from_iterable(found), dtype=np.int64)
    return torch.from_numpy(flat.reshape(-1, 4))
