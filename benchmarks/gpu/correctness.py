"""Whether the game computes on the card what it computes on the CPU, and waits for nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.figures import Sheet, each
from benchmarks.gpu.settings import SameNoise, at_paper_size, small, small_recipe
from pg_platform.config.experiment import Experiment
from pg_platform.data.images import open_images
from pg_platform.data.loaders import Batch, GameLoader, Share
from pg_platform.game.soft_rank import soft_rank
from pg_platform.methods import build
from pg_platform.training.checkpoint import Progress, latest, load_weights
from pg_platform.training.gradients import Gradients
from pg_platform.training.history import OUT_OF_MEMORY, shortage
from pg_platform.training.learner import Learner
from pg_platform.training.loop import train
from pg_platform.training.worker import Worker, local_worker

FLOAT32, DOUBLE = 1e-2, 1e-8
"""How far gradients of two devices may be apart, relative to their norm: sums run in another order,
and a ReLU near 0 may open on one alone (one CPU against double: 1e-3 in the vision network)."""

COMPILED_STEPS, FIRST_LOSS_APART = 50, 1e-5
NUDGE = 1e-7
"""How far, relatively, weights start from others to see what rounding alone makes of losses."""

STEPS = 6
RECORDED_STEPS = 20


def correctness(sheet: Sheet) -> None:
    """All checks; what takes a compiler comes last, since it takes the longest."""
    checks: dict[str, Callable[[], None]] = {
        "soft ranks": partial(_soft_ranks, sheet),
        "a step waits for nothing": partial(_no_sync, sheet),
        "a recorded step": partial(_recorded, sheet),
        "modules, float32": partial(_modules, sheet, torch.float32, FLOAT32),
        "modules, double": partial(_modules, sheet, torch.float64, DOUBLE),
        "micro-batches": partial(_micro_batches, sheet),
        "precision bf16": partial(_precision, sheet, "bf16"),
        "precision fp16": partial(_precision, sheet, "fp16"),
        "a loss that is not finite": partial(_guard, sheet),
        "resume": partial(_resume, sheet),
        "out of memory": partial(_out_of_memory, sheet),
        "compile": partial(_compile, sheet),
    }
    compiler_seconds = 150.0 if sheet.small else 40.0
    each(sheet, dict(list(checks.items())[:-1]))
    each(sheet, {"compile": checks["compile"]}, wants=compiler_seconds)


def _soft_ranks(sheet: Sheet) -> None:
    """The form without a wait, on the device, against isotonic regression on the CPU, in double."""
    generator = torch.Generator().manual_seed(0)
    for patches in (16, 49, 196):
        scores = torch.randn(64, patches, generator=generator, dtype=torch.float64) * 3
        ranks, gradient = _ranked(scores, "isotonic")
        ours, our_gradient = _ranked(scores.to(sheet.device), "minimax")
        off = max(_apart(ours, ranks), _apart(our_gradient, gradient))
        sheet.check(f"soft ranks, K = {patches}", passed=off < 1e-9, found=f"{off:.1e} apart")


def _ranked(scores: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    ranks = soft_rank(leaf, 1.0, implementation)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(ranks.square().sum(), leaf)
    return ranks.detach(), gradient


def _no_sync(sheet: Sheet) -> None:
    """Whole steps between two logging points, with every wait for the device an error."""
    if sheet.small:
        sheet.note("a step waits for nothing", "not on a CPU")
        return
    for name, experiment in _recipes(sheet).items():
        learner, progress = Learner(experiment, Worker(sheet.device)), Progress()
        batches = _endless(learner)
        for _ in range(3):  # the first ones upload the images and look at a message
            learner.step(next(batches), progress)
        with _waits_are_errors():
            for _ in range(STEPS):
                learner.step(next(batches), progress)
        sheet.check(f"{name}: a step waits for nothing", passed=True, found=f"{STEPS} steps")


def _recorded(sheet: Sheet) -> None:
    """Steps repeated as one launch, against the same steps kernel by kernel: weights to the bit."""
    if sheet.small:
        sheet.note("a recorded step", "not on a CPU")
        return
    for name in _recipes(sheet):
        weights = {}
        for word in ("true", "false"):
            asked = small_recipe(name, f"resources.cuda_graph={word}", "precision=auto")
            with _deterministic():
                learner, progress = Learner(asked, Worker(sheet.device)), Progress()
                batches = _endless(learner)
                for _ in range(RECORDED_STEPS):
                    learner.step(next(batches), progress)
            weights[word] = {key: t.clone() for key, t in learner.method.state_dict().items()}
            recorded = learner.gradients.graph
            assert (recorded is not None and recorded.graph is not None) == (word == "true")
        differing = [
            key for key, t in weights["true"].items() if not torch.equal(t, weights["false"][key])
        ]
        sheet.check(
            f"{name}: a recorded step is the step, bit for bit",
            passed=not differing,
            found=f"{len(differing)} of {len(weights['true'])} tensors differ after "
            f"{RECORDED_STEPS} steps{': ' + ', '.join(differing[:3]) if differing else ''}",
        )


@contextmanager
def _deterministic() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


@contextmanager
def _waits_are_errors() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _modules(sheet: Sheet, dtype: torch.dtype, bound: float) -> None:
    """Loss and the gradient of each part of each recipe, on the device and on the CPU."""
    with _exact_products():
        for name, experiment in _recipes(sheet).items():
            reference, ours = (
                _gradients_of(experiment, device, dtype)
                for device in (torch.device("cpu"), sheet.device)
            )
            worst = max(reference, key=lambda part: _apart(ours[part], reference[part]))
            off = _apart(ours[worst], reference[worst])
            sheet.check(
                f"{name}, {dtype}: as on the CPU",
                passed=off < bound,
                found=f"{off:.1e} apart at most, in {worst}",
            )


def _gradients_of(
    experiment: Experiment, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The loss of one step and the gradients of each part, flattened."""
    method = build(experiment).to(device, dtype).train()
    views = _views(experiment, device, dtype)
    noise = SameNoise(0, 1, range(experiment.batch_size), device, dtype)
    with _double_stays_double():
        loss, _ = method(views, progress=0.1, noise=noise)
        loss.backward()
    return {"loss": loss.detach()[None], **_by_part(method)}


def _by_part(method: nn.Module) -> dict[str, Tensor]:
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in method.named_parameters():
        if parameter.grad is not None:
            part = ".".join(name.split(".")[:2])
            parts.setdefault(part, []).append(parameter.grad.flatten())
    return {part: torch.cat(gradients) for part, gradients in parts.items()}


def _micro_batches(sheet: Sheet) -> None:
    """Gradients of a batch taken in parts, against those of the whole, in double."""
    whole = small("batch_norm_images=16")
    parts = small("batch_norm_images=16", "resources.micro_batch=16")
    found = [_gradients_in(each_, sheet.device) for each_ in (whole, parts)]
    off = max(_apart(found[1][part], found[0][part]) for part in found[0])
    sheet.check("micro-batches: as the whole batch", passed=off < DOUBLE, found=f"{off:.1e} apart")


def _gradients_in(experiment: Experiment, device: torch.device) -> dict[str, Tensor]:
    method = build(experiment).to(device, torch.float64).train()
    gradients = Gradients(method, experiment, Worker(device))
    noise = SameNoise(0, 1, range(experiment.batch_size), device, torch.float64)
    with _double_stays_double():
        gradients.of(_views(experiment, device, torch.float64), 0.1, noise)
    return _by_part(method)


def _precision(sheet: Sheet, precision: str) -> None:
    """The mean loss of an epoch in a short type, against float32 from the same start."""
    losses = {}
    for name in ("float32", precision):
        experiment = small(f"precision={name}")
        learner, progress = Learner(experiment, Worker(sheet.device)), Progress()
        for batch in learner.batches(progress):
            learner.step(batch, progress)
        losses[name] = learner.finish_epoch(progress).metrics["train/loss"]
    off = abs(losses[precision] / losses["float32"] - 1)
    sheet.check(
        f"{precision}: loss as in float32",
        passed=off < 0.05,
        found=f"{losses[precision]:.4f} against {losses['float32']:.4f}",
    )


def _guard(sheet: Sheet) -> None:
    """A batch with a number that is none changes no weight and is named."""
    for precision in ("float32", "bf16"):
        learner, progress = (
            Learner(small(f"precision={precision}"), Worker(sheet.device)),
            Progress(),
        )
        batches = _endless(learner)
        learner.step(next(batches), progress)
        before = {name: value.detach().clone() for name, value in learner.method.named_parameters()}
        good = next(batches)
        learner.step(Batch(good.speaker * float("nan"), good.listener, good.index), progress)
        learner.step(next(batches), progress)
        bad = learner.guard.bad_step()
        kept = all(torch.equal(before[n], p) for n, p in learner.method.named_parameters())
        sheet.check(
            f"{precision}: nothing is learned from nan",
            passed=kept and bad == 1,
            found=f"step {bad}, weights {'kept' if kept else 'changed'}",
        )


def _resume(sheet: Sheet) -> None:
    """Two epochs in one go and in two, with deterministic algorithms: the same bits."""
    whole, parts = sheet.scratch / "whole", sheet.scratch / "parts"
    with _deterministic():
        _trained(sheet, whole, None)
        _trained(sheet, parts, 1)
        _trained(sheet, parts, None)
    one, other = (load_weights(_newest(folder)) for folder in (whole, parts))
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    sheet.check(
        "resume: bit for bit",
        passed=not differing,
        found=f"{len(differing)} of {len(one)} tensors differ",
    )


def _trained(sheet: Sheet, folder: Path, until: int | None) -> None:
    train(
        small(),
        folder,
        place=Worker(sheet.device),
        report=lambda _: None,
        should_stop=lambda: False,
        until=until,
    )


def _newest(folder: Path) -> Path:
    found = latest(folder)
    assert found is not None, "training leaves a checkpoint"
    return found


def _out_of_memory(sheet: Sheet) -> None:
    """A batch that does not fit is told apart, and `on_oom: micro_batch` then plays it in parts."""
    if sheet.small:
        sheet.note("out of memory", "not on a CPU")
        return
    batch = 4096
    local_worker(small("resources.gpus_per_worker=0.1").resources)  # holds this process to it
    try:
        fits = [(size, _fits(sheet.device, batch, size)) for size in (None, 512, 256, 128)]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, sheet.device)
    sheet.check(
        "out of memory: told, and played in parts",
        passed=fits[0][1] == OUT_OF_MEMORY and any(word == "fits" for _, word in fits[1:]),
        found=", ".join(f"{size or 'whole'}: {word}" for size, word in fits),
    )


def _fits(device: torch.device, batch: int, size: int | None) -> str:
    """What a step of the paper's game says that is taken in parts of `size`."""
    changes = () if size is None else (f"batch_norm_images={size}", f"resources.micro_batch={size}")
    experiment = at_paper_size("photos", batch, *changes)
    try:
        method = build(experiment).to(device).train()
        gradients = Gradients(method, experiment, Worker(device))
        noise = SameNoise(0, 1, range(batch), device)
        views = torch.randn(2, batch, 3, 224, 224, device=device, dtype=torch.float16).float()
        gradients.of((views[0], views[1]), 0.1, noise)
        torch.cuda.synchronize(device)
    except torch.OutOfMemoryError as error:
        return shortage(f"{type(error).__name__}: {error}") or "an error that nothing tells apart"
    finally:
        torch.cuda.empty_cache()
    return "fits"


def _compile(sheet: Sheet) -> None:
    """The loss of 50 steps with and without torch.compile, from the same start.

    A symbol that rounding turns over moves all losses after it, so they are held to what a nudge
    of the weights does to those of the plain form.
    """
    plain = _losses(sheet, "compile=false")
    nudged = _relative(_losses(sheet, "compile=false", nudge=NUDGE), plain)
    compiled = _relative(_losses(sheet, "compile=true"), plain)
    sheet.check(
        "compile: the same losses",
        passed=compiled[0] < FIRST_LOSS_APART and max(compiled) < 3 * max(nudged),
        found=f"{compiled[0]:.1e} apart at the first step, {max(compiled):.1e} at most over "
        f"{len(plain)}; weights nudged by {NUDGE:g}: {nudged[0]:.1e} and {max(nudged):.1e}",
    )


def _relative(losses: list[float], reference: list[float]) -> list[float]:
    return [abs(a / b - 1) for a, b in zip(losses, reference, strict=True)]


def _losses(sheet: Sheet, change: str, nudge: float = 0.0) -> list[float]:
    learner, progress = Learner(small(change), Worker(sheet.device)), Progress()
    generator = torch.Generator(sheet.device).manual_seed(0)
    with torch.no_grad():
        for weight in learner.method.parameters():
            drawn = torch.randn(weight.shape, device=sheet.device, generator=generator)
            weight.mul_(1 + nudge * drawn)
    batches, total, losses = _endless(learner), 0.0, []
    for _ in range(5 if sheet.small else COMPILED_STEPS):
        learner.step(next(batches), progress)
        losses.append(learner.sums["loss"].item() - total)
        total += losses[-1]
    return losses


def _endless(learner: Learner) -> Iterator[Batch]:
    """Batches of one epoch after another."""
    epoch = 0
    while True:
        yield from learner.loader.epoch(epoch)
        epoch += 1


def _views(
    experiment: Experiment, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Two views of generated pictures, made on the CPU, so that they are equal everywhere."""
    images = open_images(experiment.data, "train")
    loader = GameLoader(images, experiment, Share(), torch.device("cpu"))
    batch = next(loader.epoch(0))
    return batch.speaker.to(device, dtype), batch.listener.to(device, dtype)


def _recipes(sheet: Sheet) -> dict[str, Experiment]:
    names = ("default",) if sheet.small else ("photos", "default", "paper", "official")
    return {name: small_recipe(name) for name in names}


@contextmanager
def _exact_products() -> Iterator[None]:
    """Products of float32 in float32: TF32 keeps ten bits of a mantissa."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def _double_stays_double() -> Iterator[None]:
    """The game raises short types with `.float()`, which would lower double to float32."""
    game: Any = Tensor
    lower = game.float
    game.float = lambda tensor: tensor if tensor.dtype == torch.float64 else lower(tensor)
    try:
        yield
    finally:
        game.float = lower


def _apart(ours: Tensor, reference: Tensor) -> float:
    """The norm of the difference over that of the reference; inf where a number is none."""
    ours, reference = ours.double().cpu(), reference.double().cpu()
    off = ((ours - reference).norm() / reference.norm().clamp(min=1e-30)).item()
    return off if off == off else float("inf")
