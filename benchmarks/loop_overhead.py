"""What training costs beyond its steps: `train` against a bare loop of the same steps.

    python -m benchmarks.loop_overhead [--quick]

The bare loop has the same images, views, method and optimiser, and nothing else: no sums, no
guard, no schedules, no journal, no report, no checkpoint, no validation. `train` has all of them,
with one epoch, one checkpoint and one validation of a single pool at its end. What a run costs
once (opening, checkpoint, validation) is told apart from what each step costs, by runs of two
lengths: an epoch of ImageNet has 2,500 steps and one checkpoint.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.interleaved import medians, verdict
from pg_platform.config.experiment import Experiment
from pg_platform.data.images import open_images
from pg_platform.data.loaders import GameLoader, Share
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training.gradients import Gradients
from pg_platform.training.loop import train
from pg_platform.training.optimizer import build_optimizer
from pg_platform.training.worker import local_worker, memory_format

BATCH, POOL = 16, 16


def main() -> None:
    """Print the seconds a step of both, what a run costs once, and the ratio of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8 and 24 steps, not 32 and 128")
    few, many = (8, 24) if parser.parse_args().quick else (32, 128)
    runs = {
        (name, steps): partial(run, experiment(steps))
        for name, run in (("train", trained), ("bare", bare))
        for steps in (few, many)
    }
    seconds = medians({f"{name} {steps}": call for (name, steps), call in runs.items()}, 5)
    a_step = {}
    for name in ("train", "bare"):
        short, long = seconds[f"{name} {few}"], seconds[f"{name} {many}"]
        a_step[name] = (long - short) / (many - few)
        once = short - few * a_step[name]
        print(f"{name:<6} {a_step[name] * 1e3:>7.1f} ms a step, {once:.2f} s a run")
    print(verdict("loop_overhead", a_step["train"] / a_step["bare"], "<= 1.03"))


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
            "speaker": {"patch_size": 16, "rank": {"width": 16}},
            "listener": {"text": {"depth": 2, "width": 128, "heads": 4}, "vision": {"width": 16}},
            "validation": {"pool_size": 8},
        }
    )


def trained(asked: Experiment) -> None:
    """One run as `pg-train --local` has it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        train(
            asked,
            Path(folder),
            place=local_worker(asked.resources),
            report=lambda _: None,
            should_stop=lambda: False,
        )


def bare(asked: Experiment) -> None:
    """The steps of that run."""
    place = local_worker(asked.resources)
    loader = GameLoader(open_images(asked.data, "train"), asked, Share(), place.device)
    method = build(asked).train()
    layout = memory_format(place.device)
    method.to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = build_optimizer(method, asked)
    gradients = Gradients(method, asked, place)
    for step, batch in enumerate(loader.epoch(0)):
        views = (
            batch.speaker.contiguous(memory_format=layout),
            batch.listener.contiguous(memory_format=layout),
        )
        optimizer.zero_grad(set_to_none=True)
        gradients.of(views, step / loader.steps, Noise(0, step, range(BATCH), place.device))
        optimizer.step()


if __name__ == "__main__":
    main()
