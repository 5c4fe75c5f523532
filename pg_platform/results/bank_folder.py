"""The folder of a message bank: whose it is, and that it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
