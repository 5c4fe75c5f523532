"""Metrics reach a store that fails, once each and in order."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from pg_platform.store.client import Patience, StoreError, StoreUnavailableError
from pg_platform.store.metric_writer import BATCH, Measurement, Writer, beyond, ends, measurements
from pg_platform.sweep.load import Metric
from pg_platform.training.history import Row
from tests.results import ACCURACY, LOSS

QUICK = Patience(total=30, first=0.001, longest=0.01)
NONE = Patience(total=0, first=0, longest=0)


class FragileStore:
    """Keeps what it is sent, after `failures` calls that fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.kept: dict[str, list[Measurement]] = {}
        self.batches: list[int] = []
        self.threads: set[str] = set()

    def send(self, run_id: str, values: Sequence[Measurement]) -> None:
        self.threads.add(threading.current_thread().name)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("down")
        if run_id == "deleted":
            raise StoreError("no such run")
        self.batches.append(len(values))
        self.kept.setdefault(run_id, []).extend(values)


def values(count: int) -> list[Measurement]:
    """One metric at steps 1 to `count`."""
    return [Measurement("val/loss", float(step), step, 0) for step in range(1, count + 1)]


def test_what_is_put_arrives_in_order_and_in_batches() -> None:
    store = FragileStore()
    writer = Writer(store.send, QUICK)
    for value in values(2500):
        writer.put("a", [value])
    writer.close()
    assert store.kept["a"] == values(2500)
    assert max(store.batches) <= BATCH
    assert threading.current_thread().name not in store.threads


def test_a_store_that_comes_back_gets_everything_once() -> None:
    store = FragileStore(failures=3)
    writer = Writer(store.send, QUICK)
    writer.put("a", values(5))
    writer.put("b", values(3))
    writer.close()
    assert store.kept == {"a": values(5), "b": values(3)}


def test_a_store_that_stays_away_is_told_of_and_loses_nothing() -> None:
    store = FragileStore(failures=10**9)
    writer = Writer(store.send, NONE)
    writer.put("a", values(5))
    with pytest.raises(StoreUnavailableError, match=r"5 metric values of 1 runs .* 0 s \(down\)"):
        writer.flush()
    store.failures = 0
    writer.put("a", [Measurement("val/loss", 6.0, 6, 0)])
    writer.close()
    assert store.kept["a"] == values(6)


def test_a_refused_run_does_not_hold_up_the_others() -> None:
    store = FragileStore()
    writer = Writer(store.send, QUICK)
    writer.put("deleted", values(4))
    writer.put("a", values(2))
    with pytest.raises(StoreError, match="run deleted, 4 values: no such run"):
        writer.flush()
    assert store.kept == {"a": values(2)}
    writer.close()


def test_what_is_beyond_a_mark_is_new_and_moves_it() -> None:
    new, marks = beyond([*values(4), *values(5)], {"val/loss": 2, "other": 9})
    assert [value.step for value in new] == [3, 4, 5]
    assert marks == {"val/loss": 5, "other": 9}


def test_the_game_is_measured_by_images_seen_as_well() -> None:
    row = Row(2, 20, 640, {"train/loss": 1.0, "val/top1_pool512": 0.5, "optim/lr": 0.1})
    found = {(m.metric, m.value, m.step) for m in measurements(row)}
    assert found == {
        ("train/loss", 1.0, 2),
        ("val/top1_pool512", 0.5, 2),
        ("optim/lr", 0.1, 2),
        ("by_images/train/loss", 1.0, 640),
        ("by_images/val/top1_pool512", 0.5, 640),
    }


@pytest.mark.parametrize(("metric", "best"), [(ACCURACY, 0.7), (LOSS, 0.1)])
def test_a_run_ends_with_its_last_and_its_best_value(
    metric: Metric,
    best: float,
) -> None:
    last, found = ends([(1, 0.1), (2, 0.7), (3, float("nan")), (4, 0.5)], metric)
    assert (last.metric, last.value, last.step) == (f"final/{metric.name}", 0.5, 0)
    assert (found.metric, found.value, found.step) == (f"best/{metric.name}", best, 0)


def test_a_run_without_a_finite_value_has_no_end() -> None:
    assert ends([(1, float("nan"))], ACCURACY) == []
