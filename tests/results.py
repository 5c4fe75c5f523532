"""Trials and the runs they might have left, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pg_platform.config.experiment import Experiment
from pg_platform.store.stored_run import Ending, StoredRun
from pg_platform.sweep.load import Metric
from pg_platform.sweep.trials import Trial
from pg_platform.training.history import Row

ACCURACY = Metric(name="val/top1_pool512", goal="maximize")
LOSS = Metric(name="train/loss", goal="minimize")


def trial(group: str, seed: int, point: Mapping[str, Any]) -> Trial:
    """A planned trial; its id is its name without spaces."""
    name = f"{group} seed={seed}"
    return Trial(
        id=name.replace(" ", "_"),
        name=name,
        group=group,
        point=dict(point),
        seed=seed,
        experiment=Experiment(seed=seed),
        data_hash="digits-0",
    )


def vocabularies(values: Sequence[int], seeds: int) -> list[Trial]:
    """A plan that varies the vocabulary."""
    return [
        trial(f"V={value}", seed, {"speaker.vocab_size": value})
        for value in values
        for seed in range(seeds)
    ]


def stored(
    metrics: Mapping[str, float],
    status: Ending = "FINISHED",
    *,
    reason: str | None = None,
    run_id: str = "0",
) -> StoredRun:
    """A run with these metrics, that stopped for this reason."""
    return StoredRun(
        run_id=run_id,
        experiment_id="0",
        key="0",
        name="",
        status=status,
        metrics=dict(metrics),
        params={},
        tags={} if reason is None else {"pg.stop_reason": reason},
    )


def rows(metric: str, values: Sequence[float]) -> list[Row]:
    """One row an epoch, of 100 images each."""
    return [
        Row(epoch, 10 * epoch, 100 * epoch, {metric: value})
        for epoch, value in enumerate(values, start=1)
    ]
