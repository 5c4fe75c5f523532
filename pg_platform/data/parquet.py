"""Parquet files with a column of encoded images and a column of integer labels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from pg_platform.config.experiment import Parquet
from pg_platform.data.decoding import decode
from pg_platform.data.image_set import Images
from pg_platform.data.listing import Split, belongs, parquet_roles, row_name

_ROWS_AT_ONCE = 1024


def open_parquet(data: Parquet, split: Split) -> Images:
    """One split of parquet files; the bytes of its images are held in memory, still encoded.

    The image column holds bytes, or a struct with a field `bytes`. Labels are integers; a null
    is -1. Without `data.val_path` the hash of the column `path` decides the split, or of file
    name and row where there is no such column. Raises ValueError for a column that is not there
    or holds something else.
    """
    roles = parquet_roles(data)
    for file in (file for files in roles.values() for file in files):
        _check_columns(file, data)
    own = roles["val"] if split == "val" and "val" in roles else roles["train"]
    parts = [part for file in own for part in _parts(file, data)]
    if "val" not in roles:
        parts = [_keep(part, split, data.val_fraction) for part in parts]
    highest = max(_highest_label(file, data) for files in roles.values() for file in files)
    return Images(
        classes=tuple(str(i) for i in range(highest + 1)),
        labels=torch.cat([part.labels for part in parts]),
        ids=[name for part in parts for name in part.ids],
        pixels=ParquetRows(
            chunks=[part.images for part in parts],
            ends=list(accumulate(len(part.ids) for part in parts)),
            places=[place for part in parts for place in part.places],
            processes=data.loader_processes,
        ),
    )


@dataclass(frozen=True)
class ParquetRows:
    """Encoded images in arrow arrays, `ends` of them counted up, and where each lies."""

    chunks: Sequence[Any]
    ends: Sequence[int]
    places: Sequence[str]
    processes: int

    def read(self, position: int) -> bytes:
        """The bytes of the row; ValueError where it is null."""
        chunk = bisect_right(self.ends, position)
        start = self.ends[chunk] - len(self.chunks[chunk])
        data: bytes | None = self.chunks[chunk][position - start].as_py()
        if data is None:
            raise ValueError("no bytes")
        return data

    def image(self, position: int) -> Tensor:
        """(3, h, w) uint8; RuntimeError or ValueError where it cannot be decoded."""
        return decode(self.read(position))

    def name(self, position: int) -> str:
        """Its file and row."""
        return self.places[position]


@dataclass(frozen=True)
class _Part:
    """Some rows of one file: encoded images in an arrow array, and what is known of them."""

    images: Any
    labels: Tensor
    ids: list[str]
    places: list[str]


def _parts(file: Path, data: Parquet) -> Iterator[_Part]:
    table = pq.ParquetFile(file)
    has_path = "path" in table.schema_arrow.names
    columns = [data.image_column, data.label_column, *["path"] * has_path]
    start = 0
    for batch in table.iter_batches(_ROWS_AT_ONCE, columns=columns):
        images, rows = batch.column(data.image_column), range(start, start + len(batch))
        paths = batch.column("path").to_pylist() if has_path else [None] * len(batch)
        yield _Part(
            images=pc.struct_field(images, "bytes") if _is_struct(images.type) else images,
            labels=_integers(batch.column(data.label_column)),
            ids=[row_name(file, row, path) for path, row in zip(paths, rows, strict=True)],
            places=[f"{file} row {row}" for row in rows],
        )
        start += len(batch)


def _keep(part: _Part, split: Split, val_fraction: float) -> _Part:
    """The rows of `part` that are in `split`."""
    kept = [belongs(name, split, val_fraction) for name in part.ids]
    return _Part(
        images=part.images.filter(pa.array(kept)),
        labels=part.labels[torch.tensor(kept)],
        ids=list(compress(part.ids, kept)),
        places=list(compress(part.places, kept)),
    )


def _highest_label(file: Path, data: Parquet) -> int:
    labels = _integers(pq.read_table(file, columns=[data.label_column])[data.label_column])
    return int(labels.max()) if len(labels) else -1


def _integers(column: Any) -> Tensor:
    """An arrow column of integers as (n,) int64; null is -1."""
    numbers = column.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return torch.tensor(numbers, dtype=torch.int64)


def _check_columns(file: Path, data: Parquet) -> None:
    schema = pq.read_schema(file)
    for key, name in (
        ("data.image_column", data.image_column),
        ("data.label_column", data.label_column),
    ):
        if name not in schema.names:
            raise ValueError(f"{key}: no column {name} in {file}; it has {', '.join(schema.names)}")
    image, label = schema.field(data.image_column).type, schema.field(data.label_column).type
    held = image.field("bytes").type if _is_struct(image) and _has_bytes(image) else image
    if not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
        raise ValueError(
            f"data.image_column: {data.image_column} of {file} holds {image}; wanted are bytes of "
            "encoded images, or a struct with a field bytes"
        )
    if not pa.types.is_integer(label):
        raise ValueError(
            f"data.label_column: {data.label_column} of {file} holds {label}; wanted are integers"
        )


def _is_struct(kind: Any) -> bool:
    return bool(pa.types.is_struct(kind))


def _has_bytes(kind: Any) -> bool:
    return "bytes" in {kind.field(i).name for i in range(kind.num_fields)}
