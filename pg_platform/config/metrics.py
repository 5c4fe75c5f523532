"""The names of what training reports, in one place."""

from __future__ import annotations

from pg_platform.config.experiment import Experiment


def success(experiment: Experiment) -> str:
    """Share of messages that find their image in a pool of `validation.pool_size` (Fig. 6)."""
    return f"val/top1_pool{experiment.validation.pool_size}"


def metric_names(experiment: Experiment) -> tuple[str, ...]:
    """All metrics of a run. Accuracies are shares, chance is 1 over the pool or the batch."""
    pool = experiment.validation.pool_size
    skipped = ("optim/skipped_steps",) if experiment.precision == "fp16" else ()
    return (
        success(experiment),
        f"val/top5_pool{pool}",
        f"val/reverse_top1_pool{pool}",
        f"val/reverse_top5_pool{pool}",
        "train/loss",
        "train/top1_batch",
        "train/message_length",
        "msg/length",
        "msg/active_symbols",
        "msg/symbol_entropy_bits",
        "optim/lr",
        "optim/symbol_temperature",
        "optim/grad_norm",
        *skipped,
        "perf/images_per_s",
        "perf/data_wait_share",
        "perf/peak_memory_gib",
        "data/broken_images",
    )
