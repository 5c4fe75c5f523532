"""One training step at 224 px: ours against a plain eager float32 form of the same equations.

    python -m benchmarks.step [--recipe photos] [--batch 16] [--profile] [--quick]

Ours is what training runs: the device's precision and layout, a fused optimiser. The plain form
is the same modules in float32 and in PyTorch's own layout, with an optimiser that takes the
parameters one by one. Share of peak: the floating-point operations of the forward pass, counted by
torch and taken three times, over what a product of matrices reaches in the same run.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.interleaved import medians, verdict
from pg_platform.config.experiment import Experiment
from pg_platform.config.overrides import load_recipe
from pg_platform.config.paths import recipe_names
from pg_platform.game.sampling import Noise
from pg_platform.methods import build
from pg_platform.training.gradients import Gradients
from pg_platform.training.optimizer import build_optimizer
from pg_platform.training.worker import Worker, autocast_dtype, memory_format

SIDE, PATCH = 224, 32
GOALS = {"cpu": 2.0, "cuda": 2.5}
MATRIX = 4096


def main() -> None:
    """Print seconds, images/s, share of peak and memory of both forms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=recipe_names(), default="photos")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--profile", action="store_true", help="where the time of ours goes")
    parser.add_argument("--quick", action="store_true", help="5 repeats instead of 9")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours = Step(experiment(options.recipe, options.batch), device)
    if options.profile:
        print_profile(ours)
        return
    plain = Step(experiment(options.recipe, options.batch, plain=True), device, plain=True)
    forms = {"ours": ours, "plain": plain}
    seconds = medians(
        {name: synced(step, device) for name, step in forms.items()}, 5 if options.quick else 9
    )
    flops = 3 * forward_flops(ours)
    peak = peak_flops(ours.dtype, device)
    print(f"recipe {options.recipe}, {SIDE} px, batch {options.batch}, {device}, {ours.dtype}")
    print("form     s/step  images/s  share of peak")
    for name, median in seconds.items():
        share = flops / median / peak
        print(f"{name:<8} {median:>6.3f} {options.batch / median:>9.1f} {share:>14.2f}")
    print(
        f"peak {peak / 1e12:.2f} TFLOP/s; a step {flops / 1e9:.0f} GFLOP; memory {memory(device)}"
    )
    ratio = seconds["plain"] / seconds["ours"]
    print(verdict("step", ratio, f">= {GOALS[device.type]:g}"))


class Step:
    """A method on random images; each call is one step of training."""

    def __init__(self, asked: Experiment, device: torch.device, *, plain: bool = False) -> None:
        self.experiment, self.device = asked, device
        self.dtype = autocast_dtype(asked, device)
        layout = torch.contiguous_format if plain else memory_format(device)
        self.method = build(asked).to(device).train()
        self.method.to(memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.method, asked)
        if plain:
            rate = asked.optimizer.lr
            self.optimizer = torch.optim.AdamW(self.method.parameters(), rate, foreach=False)
        self.gradients = Gradients(self.method, asked, Worker(device))
        generator = torch.Generator().manual_seed(0)
        side = asked.data.image_size
        views = torch.randn(2, asked.batch_size, 3, side, side, generator=generator).to(device)
        first, second = (view.contiguous(memory_format=layout) for view in views)
        self.views: tuple[Tensor, Tensor] = (first, second)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.gradients.of(self.views, 0.1, self.noise())
        self.optimizer.step()

    def noise(self) -> Noise:
        """The draws of some step."""
        return Noise(0, 1, range(self.experiment.batch_size), self.device)


def experiment(recipe: str, batch: int, *, plain: bool = False) -> Experiment:
    """A recipe at 224 px, on images that are never opened."""
    settings = load_recipe(recipe).model_dump()
    settings |= {"batch_size": batch, "data": {"kind": "shapes", "image_size": SIDE}}
    settings["speaker"]["patch_size"] = PATCH
    settings["precision"] = "float32" if plain else "auto"
    settings["resources"]["cuda_graph"] = not plain
    return Experiment.model_validate(settings)


def synced(call: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """The call, and the wait for the device."""

    def whole() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return whole


def forward_flops(step: Step) -> int:
    """Floating-point operations of a forward pass over the batch."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        step.method(step.views, progress=0.1, noise=step.noise())
    return int(counter.get_total_flops())


def peak_flops(dtype: torch.dtype, device: torch.device, side: int = MATRIX) -> float:
    """Operations a second of a product of matrices of `side` rows and columns."""
    a = torch.randn(side, side, device=device, dtype=dtype)
    seconds = medians({"product": synced(lambda: a @ a, device)}, 5)["product"]
    return 2 * side**3 / seconds


def memory(device: torch.device) -> str:
    """The most that this process held."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the device"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, both forms"


def print_profile(step: Step) -> None:
    """Seconds of one step by part: forward of each network, backward, optimiser."""
    parts = {
        "speaker.symbol": step.method.speaker.symbol,
        "speaker.gates": step.method.speaker.gates,
        "listener.text": step.method.listener.text,
        "listener.vision": step.method.listener.vision,
        "listener.text_head": step.method.listener.text_head,
        "listener.vision_head": step.method.listener.vision_head,
        "loss": step.method.loss,
    }
    for name, module in parts.items():
        forward = module.forward

        def timed(*given: object, _name: str = name, _forward: object = forward) -> object:
            with record_function(f"part {_name}"):
                return _forward(*given)  # type: ignore[operator]

        module.forward = timed
    step()
    started = time.perf_counter()
    with profile() as profiler:
        step()
    whole = time.perf_counter() - started
    rows = {event.key: event.cpu_time_total / 1e6 for event in profiler.key_averages()}
    told = {name: rows[f"part {name}"] for name in parts}
    told["optimiser"] = sum(t for key, t in rows.items() if key.startswith("Optimizer.step"))
    told["backward and the rest"] = whole - sum(told.values())
    for name, seconds in told.items():
        print(f"{name:<22} {seconds:>7.3f} s {seconds / whole:>6.1%}")


if __name__ == "__main__":
    main()
