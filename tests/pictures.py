"""Small sets of images on disk, made from scikit-learn's digits, shared by the tests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

from pg_platform.config.experiment import Crop, ListenerView, SpeakerView, Views

CROPS_ONLY = Views(
    crop=Crop(),
    flip=0.0,
    color_jitter=None,
    grayscale=0.0,
    speaker=SpeakerView(blur=0.0, solarize=0.0),
    listener=ListenerView(blur=0.0, solarize=0.0),
)


def encoded_digits(count: int, kind: str, size: tuple[int, int]) -> list[tuple[bytes, int]]:
    """The first digits as files of `kind`, enlarged to width and height `size`; their labels."""
    digits = load_digits()
    encoded = []
    for pixels, label in zip(digits.images[:count], digits.target, strict=False):
        grey = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8))
        file = io.BytesIO()
        grey.resize(size).convert("RGB").save(file, kind)
        encoded.append((file.getvalue(), int(label)))
    return encoded


def write_folder(
    root: Path, count: int, kind: str = "png", size: tuple[int, int] = (12, 10)
) -> list[Path]:
    """root/LABEL/NUMBER.kind for the first digits; the paths in that order."""
    paths = []
    for i, (data, label) in enumerate(encoded_digits(count, kind, size)):
        path = root / f"digit{label}" / f"{i:04}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


def write_parquet(file: Path, images: Sequence[object], labels: Sequence[int | None]) -> Path:
    """A parquet file of two row groups with the columns image and label."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": list(images), "label": list(labels)})
    pq.write_table(table, file, row_group_size=max(1, len(labels) // 2))
    return file
