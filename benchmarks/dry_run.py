"""What a dry run of 10,000 points takes: the file read, planned, forecast and listed.

    python -m benchmarks.dry_run [--quick]

Digits with 100 learning rates and 100 weight decays. Imports and the store's answer are not in
it. The second row varies the vocabulary and the batch, so that each point is a shape of its own
and none has a forecast. The last line has the seconds of the first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.interleaved import verdict
from pg_platform.data.identity import identity
from pg_platform.data.sizes import split_sizes
from pg_platform.driver.dry_run import DryRun
from pg_platform.driver.forecast import Forecast
from pg_platform.driver.speeds import Pace
from pg_platform.sweep.load import load_sweep
from pg_platform.sweep.trials import plan, shape

PARTS = ("load", "plan", "listing", "total")
RATES = [f"{n}.0e-5" for n in range(1, 101)]
DECAYS = [str(n / 1000) for n in range(1, 101)]
VOCABULARIES = list(range(2, 102))
BATCHES = list(range(512, 612))


def main() -> None:
    """Print the seconds of each part; the least of some repeats counts on a loaded machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 repeats, not 10")
    repeats = 3 if parser.parse_args().quick else 10
    print(f"{'seconds of':<24}" + "".join(f"{part:>9}" for part in PARTS))
    found = [
        _row("one shape", {"optimizer.lr": RATES, "optimizer.weight_decay": DECAYS}, repeats),
        _row("10,000 shapes", {"speaker.vocab_size": VOCABULARIES, "batch_size": BATCHES}, repeats),
    ]
    print(verdict("dry_run", found[0], "<= 2"))


def _row(name: str, parameters: dict[str, Sequence[object]], repeats: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        lines = [f"  {key}: {{values: [{_listed(some)}]}}" for key, some in parameters.items()]
        file.write_text("name: big\nmetric: {}\nparameters:\n" + "\n".join(lines) + "\n")
        seconds = min((_dry_run(file) for _ in range(repeats)), key=sum)
    print(f"{name:<24}" + "".join(f"{part:>9.2f}" for part in (*seconds, sum(seconds))))
    return sum(seconds)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _dry_run(file: Path) -> tuple[float, float, float]:
    """Seconds of loading, planning, listing."""
    times = [time.perf_counter()]
    sweep = load_sweep(file, ())
    times.append(time.perf_counter())
    trials = plan(sweep, identity)
    times.append(time.perf_counter())
    measured = {shape(trials[0].experiment): [Pace(1000.0, "cpu", "runs")]}
    forecast = Forecast(measured, lambda data: split_sizes(data)["train"])
    nothing: tuple[str, ...] = ()
    dry = DryRun(trials, nothing, {}, {}, nothing, forecast, slots=2, usd_per_gpu_hour=None)
    lines = list(dry.listing())
    times.append(time.perf_counter())
    assert len(lines) > len(trials) == 10_000, len(trials)
    load, planned, listed = (after - before for before, after in pairwise(times))
    return load, planned, listed


if __name__ == "__main__":
    main()
