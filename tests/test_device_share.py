"""How many trials share a device: by measured memory, or refused where none was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_platform.cluster.assignment import request
from pg_platform.config.experiment import Resources
from pg_platform.driver.gpu_packing import packed
from pg_platform.driver.speeds import Pace
from pg_platform.store.store import Store
from tests.commands import run
from tests.small import write_sweep


def paces(*peaks: float, of: float = 24.0, device: str = "cpu") -> list[Pace]:
    return [Pace(1.0, device, "runs", peak, of) for peak in peaks]


@given(st.lists(st.lists(st.floats(0.01, 30), min_size=1), min_size=1), st.booleans())
def test_every_measured_trial_fits_into_its_share(peaks: list[list[float]], gpu: bool) -> None:  # noqa: FBT001
    known = {str(i): paces(*some, of=80.0) for i, some in enumerate(peaks)}
    shared = packed(Resources(gpus_per_worker=float(gpu)), known.keys(), known)
    largest = max(map(max, peaks))
    if gpu:
        assert shared.gpus_per_worker * 80.0 > largest
        assert shared.gpus_per_worker <= 1
        assert shared.gib_per_worker == 0
    else:
        assert shared.gib_per_worker > largest
        assert shared.gpus_per_worker == 0


def test_small_trials_share_a_gpu_and_one_that_fills_it_does_not() -> None:
    one = Resources(gpus_per_worker=1.0)
    small = packed(one, ["a"], {"a": paces(6.0, of=80.0, device="H100")})
    assert 10 <= 1 / small.gpus_per_worker < 80 / 6
    assert packed(one, ["a"], {"a": paces(79.0, of=80.0, device="H100")}).gpus_per_worker == 1


def test_the_device_measured_last_counts() -> None:
    before = [*paces(20.0), *paces(4.0, of=80.0, device="H100")]
    assert packed(Resources(gpus_per_worker=1.0), ["a"], {"a": before}).gpus_per_worker < 0.1


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match=r"memory of 1 of 2 shapes was not measured.*--calibrate"):
        packed(Resources(), ["a", "b"], {"a": paces(1.0), "b": [Pace(1.0, "cpu", "runs")]})


def test_ray_is_asked_for_bytes() -> None:
    assert request(Resources(gib_per_worker=1.5)) == {"CPU": 1.0, "memory": 1.5 * 2**30}


def test_a_sweep_packs_by_what_a_calibration_measured(tmp_path: Path) -> None:
    file, home = write_sweep(tmp_path, {"resources": {"pack": "auto"}, "seeds": 1}), tmp_path / "h"
    refused = run(["pg-sweep", str(file)], home)
    assert refused.returncode == 2
    assert "memory of 2 of 2 shapes was not measured" in refused.stderr
    with Store.open(home) as store:
        assert store.sweeps() == []
    assert run(["pg-sweep", str(file), "--dry-run", "--calibrate"], home).returncode == 0
    measured = json.loads((home / "calibrations.json").read_text())
    most = max(by["cpu"]["peak_gib"] for by in measured.values())
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 0, done.stderr
    told = re.search(r"pack: auto gives each worker ([\d.]+) GiB", done.stdout)
    assert told is not None, done.stdout
    assert most < float(told[1]) < 1.5 * most
