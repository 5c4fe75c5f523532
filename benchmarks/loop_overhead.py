"""What training costs beyond its steps: `train` against a bare loop of the same steps.

    python -m benchmarks.loop_overhead [--quick]

The bare loop has the same images, views, method and optimiser, and nothing else: no sums, no
guard, no schedules, no journal, no report, no checkpoint, no validation. `train` has all of them,
with one epoch, one checkpoint and one validation of a single pool at its end.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.interleaved import medians, verdict
from pg_platform.config.experiment import Experiment
from pg_platform.data.images import open_images
from pg_platform.data.loaders import GameLoader, Share
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training.gradients import Gradients
from pg_platform.training.loop import train
from pg_platform.training.optimizer import build_optimizer
from pg_platform.training.place import local_place

BATCH, POOL = 32, 32


def main() -> None:
    """Print the seconds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="24 steps instead of 96")
    steps = 24 if parser.parse_args().quick else 96
    asked = experiment(steps)
    seconds = medians({"train": lambda: trained(asked), "bare": lambda: bare(asked)}, 5)
    for name, median in seconds.items():
        print(f"{name:<6} {median:>7.2f} s for {steps} steps, {median / steps * 1e3:.1f} ms each")
    print(verdict("loop_overhead", seconds["train"] / seconds["bare"], "<= 1.03"))


def experiment(steps: int) -> Experiment:
    """Shapes of 64 px for so many steps, with networks of some width."""
    return Experiment.model_validate(
        {
            "epochs": 1,
            "batch_size": BATCH,
            "data": {
                "kind": "shapes",
                "image_size": 64,
                "count": (steps + 1) * BATCH + 2 * POOL,
                "val_fraction": POOL / steps / BATCH,
            },
            "speaker": {"patch_size": 16, "rank": {"width": 32}},
            "listener": {"text": {"depth": 4}, "vision": {"width": 32}},
            "validation": {"pool_size": 8},
        }
    )


def trained(asked: Experiment) -> None:
    """One run as `pg-train --local` has it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        train(
            asked,
            Path(folder),
            place=local_place(asked.resources),
            report=lambda _: None,
            should_stop=lambda: False,
        )


def bare(asked: Experiment) -> None:
    """The steps of that run."""
    place = local_place(asked.resources)
    loader = GameLoader(open_images(asked.data, "train"), asked, Share(), place.device)
    method = build(asked).train()
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(method, asked)
    gradients = Gradients(method, asked, place)
    for step, batch in enumerate(loader.epoch(0)):
        views = (
            batch.speaker.contiguous(memory_format=torch.channels_last),
            batch.listener.contiguous(memory_format=torch.channels_last),
        )
        optimizer.zero_grad(set_to_none=True)
        gradients.of(views, step / loader.steps, Noise(0, step, range(BATCH), place.device))
        optimizer.step()


if __name__ == "__main__":
    main()
