"""The message bank: all that the agents say and see of a split, saved once, read by evaluations."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import fields
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg_platform.config.experiment import Experiment
from pg_platform.config.section import Section
from pg_platform.data.identity import identity
from pg_platform.data.images import Images, Split, open_images
from pg_platform.data.loaders import plain_batches, validation_batches
from pg_platform.evaluation.trained import Trained, batches_of
from pg_platform.language.corpus import Bank
from pg_platform.progress import tracked
from pg_platform.training.hashes import weights_hash

MANIFEST = "bank.json"


_UNREADABLE = (ValueError, EOFError, SyntaxError, TokenError, TypeError, OverflowError, MemoryError)
"""What numpy raises of a file that was cut short or is none of its own."""


_REMEDY = "delete the folder, and it is made anew"


def content(manifest: Mapping[str, Any]) -> str:
    """The hash of a manifest, which ends the name of its folder."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def check(folder: Path, weights: str, checkpoint: Path) -> None:
    """Raise ValueError unless a bank of these weights lies there, of what its name says."""
    file = folder / MANIFEST
    if not file.is_file():
        raise ValueError(f"{folder}: no message bank here (no {MANIFEST})")
    try:
        manifest = json.loads(file.read_bytes())
        made = str(manifest["weights"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{file}: damaged; {_REMEDY}") from error
    if made != weights:
        raise ValueError(
            f"{folder}: this bank was made by weights {made[:12]}, and those of {checkpoint} are "
            f"{weights[:12]}; {_REMEDY}"
        )
    if not folder.name.endswith(content(manifest)):
        raise ValueError(
            f"{folder}: this bank was made of another split, of other data or with other options "
            f"than its name says; {_REMEDY}"
        )


def read_arrays(folder: Path, wanted: Set[str]) -> dict[str, NDArray[Any]]:
    """All arrays of a bank by name, memory-mapped.

    Raises ValueError where one of `wanted` is missing, one is damaged, or one has other rows.
    """
    arrays = {path.stem: _read(path) for path in sorted(folder.glob("*.npy"))}
    if missing := wanted - arrays.keys():
        raise ValueError(f"{folder}: this bank has no {min(missing)}.npy; {_REMEDY}")
    rows = {name: len(values) for name, values in arrays.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"{folder}: the files of this bank have different rows {rows}; {_REMEDY}")
    return arrays


def _read(file: Path) -> NDArray[Any]:
    """The array in a file, memory-mapped; what is no plain array of some rows is refused."""
    try:
        values: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
        len(values)
    except _UNREADABLE as error:
        said = ascii(str(error))[1:200]
        raise ValueError(
            f"{file.parent}: this bank is damaged ({file.name}: {said}); {_REMEDY}"
        ) from error
    return values


BANK_VERSION = 1
"""Raised with every change of what the files hold; banks of another version are made anew."""


_ATTRIBUTE = "attribute_"


class BankOptions(Section):
    """Which pixels the agents see: every image as it is, or the two views of validation.

    With `plain` both agents see the same pixels. With `validation` they see two random views,
    equal at every call, of the images of whole pools in the order of a hash.
    """

    views: Literal["plain", "validation"] = "plain"


_FILES = {field.name for field in fields(Bank)} - {"folder", "vocabulary", "attributes"}


def open_bank(trained: Trained, split: Split, options: BankOptions | None = None) -> Bank:
    """The bank of a split, made on the first call and reused afterwards.

    It lies in `banks/` beside the checkpoint, under a hash of weights, experiment, data, split and
    options. Raises ValueError where the images cannot be had.
    """
    options = options or BankOptions()
    manifest = _manifest(trained, split, options)
    name = f"{split}-{options.views}-{content(manifest)}"
    folder = trained.path.absolute().parent / "banks" / name
    if not folder.is_dir():
        _make(trained, split, options, folder, manifest)
    return read_bank(folder, trained)


def read_bank(folder: Path, trained: Trained) -> Bank:
    """The bank in `folder`.

    Raises ValueError where it is none, was made by other weights or of another split, or has been
    damaged.
    """
    check(folder, weights_hash(trained.method), trained.path)
    arrays = read_arrays(folder, _FILES)
    attributes = {
        name.removeprefix(_ATTRIBUTE): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(_ATTRIBUTE)
    }
    vocabulary = trained.experiment.speaker.vocab_size
    return Bank(folder=folder, vocabulary=vocabulary, attributes=attributes, **arrays)


def _manifest(trained: Trained, split: Split, options: BankOptions) -> dict[str, Any]:
    return {
        "version": BANK_VERSION,
        "weights": weights_hash(trained.method),
        "experiment": trained.experiment.deciding(),
        "data": identity(trained.experiment.data),
        "split": split,
        "options": options.model_dump(),
    }


def _make(
    trained: Trained, split: Split, options: BankOptions, folder: Path, manifest: Mapping[str, Any]
) -> None:
    """Written under another name and renamed, so that a bank is whole or not there."""
    images = open_images(trained.experiment.data, split)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        count = _count(images, trained.experiment, options)
        _write(partial, count, _columns(trained, images, options))
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2))
        if not folder.is_dir():  # another process may have been faster, with equal content
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _count(images: Images, experiment: Experiment, options: BankOptions) -> int:
    if options.views == "plain":
        return len(images)
    pool = experiment.validation.pool_size
    return len(images) // pool * pool


def _write(folder: Path, count: int, batches: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Each batch goes to the mapped files at once: memory holds one batch, however many come."""
    files: dict[str, Any] = {}
    start = 0
    for batch in batches:
        for name, rows in batch.items():
            if start == 0:
                files[name] = np.lib.format.open_memmap(
                    folder / f"{name}.npy", "w+", rows.dtype, (count, *rows.shape[1:])
                )
            files[name][start : start + len(rows)] = rows
        start += len(rows)
    assert start == count, f"{start} rows of {count}"
    for file in files.values():
        file.flush()


@torch.no_grad()
def _columns(
    trained: Trained, images: Images, options: BankOptions
) -> Iterator[dict[str, NDArray[Any]]]:
    """The files' rows, batch by batch."""
    id_bytes = max(len(name.encode()) for name in images.ids)
    count = _count(images, trained.experiment, options)
    pixels = _pixels(trained, images, options)
    for speaker, listener, index in tracked(pixels, "message bank", batches_of(count)):
        played = trained.method.play((speaker, listener))
        known = {_ATTRIBUTE + name: values[index] for name, values in images.attributes.items()}
        tensors: dict[str, Tensor] = {
            "symbols": played.ids.int(),
            "gates": played.gate,
            "scores": played.importance.float(),
            "text": played.text.float(),
            "image": played.image.float(),
            "features": trained.method.features(listener).float(),
            "labels": images.labels[index],
            "positions": index,
            **known,
        }
        names = [images.ids[i].encode() for i in index.tolist()]
        arrays = {name: values.cpu().numpy() for name, values in tensors.items()}
        yield arrays | {"ids": np.array(names, dtype=f"S{id_bytes}")}


def _pixels(
    trained: Trained, images: Images, options: BankOptions
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What the speaker sees, what the listener sees, and positions in the split."""
    if options.views == "plain":
        for pixels, index in plain_batches(images, trained.experiment, trained.device):
            yield pixels, pixels, index
    else:
        for batch in validation_batches(images, trained.experiment, trained.device):
            yield batch.speaker, batch.listener, batch.index
