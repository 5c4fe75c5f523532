"""Weights and message banks that somebody else has made: read as data, or refused in a line."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from pg_platform.evaluation.message_bank import check, content, read_arrays
from pg_platform.probes.pretrained import load_given

LENIENT = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
ROWS = 6


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


class Harm:
    """Unpickled, it leaves a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """The content of a file, cut somewhere or with another byte, mostly where it begins or ends."""
    mutable = bytearray(whole)
    ends = st.integers(0, min(400, len(whole) - 1))
    place = data.draw(ends | ends.map(lambda at: len(whole) - 1 - at), "place")
    if data.draw(st.booleans(), "cut"):
        return bytes(mutable[:place])
    mutable[place] = data.draw(st.integers(0, 255), "byte")
    return bytes(mutable)


def one_line(error: ValueError) -> None:
    message = str(error)
    assert message.isprintable(), message
    assert ";" in message, "no remedy"


def write_zip(file: Path) -> None:
    torch.save(network().state_dict(), file)


def write_pickle(file: Path) -> None:
    torch.save(network().state_dict(), file, _use_new_zipfile_serialization=False)


def write_safetensors(file: Path) -> None:
    save_file(network().state_dict(), file)


WEIGHTS = {"w.pth": write_zip, "w.pt": write_pickle, "w.safetensors": write_safetensors}


@pytest.mark.filterwarnings("ignore")  # what torch says of files that are not its own
@pytest.mark.parametrize(("name", "write"), WEIGHTS.items(), ids=WEIGHTS.keys())
@given(data=st.data())
@LENIENT
def test_weights_are_read_or_refused(
    tmp_path: Path, name: str, write: Callable[[Path], None], data: st.DataObject
) -> None:
    file = tmp_path / name
    write(file)
    file.write_bytes(damaged(data, file.read_bytes()))
    try:
        load_given(network(), str(file), "a network")
    except ValueError as refused:
        one_line(refused)
        assert str(file) in str(refused)  # noqa: PT017 - bytes that are sound by chance may pass


@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_weights_run_nothing(tmp_path: Path, form: str) -> None:
    file, harm = tmp_path / "w.pth", {"0.weight": Harm(tmp_path / "harmed")}
    if form == "zip":
        torch.save(harm, file)
    else:
        file.write_bytes(pickle.dumps(harm, protocol=2))
    with pytest.raises(ValueError, match=r"neither a safetensors file nor a state dict"):
        load_given(network(), str(file), "a network")
    assert not (tmp_path / "harmed").exists()


def write_bank(folder: Path) -> Path:
    """A bank of two arrays, in a folder that is named as its manifest wants."""
    manifest = {"version": 1, "weights": "0" * 64}
    made = folder / f"val-plain-{content(manifest)}"
    made.mkdir(exist_ok=True)
    (made / "bank.json").write_text('{"version": 1, "weights": "' + "0" * 64 + '"}')
    np.save(made / "labels.npy", np.arange(ROWS))
    np.save(made / "text.npy", np.ones((ROWS, 2), np.float32))
    return made


def read(folder: Path) -> None:
    check(folder, "0" * 64, folder.parent / "step-000000001")
    arrays = read_arrays(folder, {"labels", "text"})
    assert {len(values) for values in arrays.values()} == {len(arrays["labels"])}


@given(data=st.data(), name=st.sampled_from(["labels.npy", "text.npy", "bank.json"]))
@LENIENT
def test_a_bank_is_read_or_refused(tmp_path: Path, data: st.DataObject, name: str) -> None:
    folder = write_bank(tmp_path)
    file = folder / name
    file.write_bytes(damaged(data, file.read_bytes()))
    try:
        read(folder)
    except ValueError as refused:
        one_line(refused)
        assert str(folder) in str(refused)  # noqa: PT017 - as above


@given(document=st.binary(max_size=60))
@example(document=b"[" * 5_000)
@LENIENT
def test_any_manifest_of_a_bank(tmp_path: Path, document: bytes) -> None:
    folder = write_bank(tmp_path)
    (folder / "bank.json").write_bytes(document)
    with pytest.raises(ValueError, match=r"bank\.json: damaged") as refused:
        read(folder)
    one_line(refused.value)


def test_a_bank_runs_nothing(tmp_path: Path) -> None:
    folder = write_bank(tmp_path)
    hostile = np.array([Harm(tmp_path / "harmed")] * ROWS, dtype=object)
    np.save(folder / "labels.npy", hostile, allow_pickle=True)
    with pytest.raises(ValueError, match="this bank is damaged") as refused:
        read(folder)
    one_line(refused.value)
    assert not (tmp_path / "harmed").exists()
