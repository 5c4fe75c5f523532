"""What a sweep stands on gives way: driver, workers, a node, the disk. It ends as if it had not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from pg_platform.store.store import Store
from pg_platform.training.history import Journal
from tests.commands import BIN, PATIENCE, run, start
from tests.small import environment
from tests.small_sweeps import reasons, runs, sweep, table, vocabularies, wait_until

KILLS = int(os.environ.get("PG_KILLS", "30"))
WORKER_KILLS = 10
EPOCHS = 40
TOLD_SECONDS = 30
GRACE = 60
"""What a sweep has by default for its trials to return."""

SMALL_DISK = "100k"
"""Less than two checkpoints of two trials."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_driver_killed_at_many_moments_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Each kill at a random moment of a call; then the sweep runs to its end."""
    changes = {"parameters": vocabularies(2, 4, 8, 16, 32, 64), "experiment": {"epochs": EPOCHS}}
    file, home = sweep(tmp_path, changes)
    chance = random.Random(0)
    finished: dict[str, str] = {}
    for _ in range(KILLS):
        process = start(["pg-sweep", str(file)], home)
        try:
            process.wait(timeout=chance.uniform(3, 14))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ended = finished_runs(home)
        assert finished.items() <= ended.items()
        finished = ended
    assert run(["pg-sweep", str(file)], home, patience=900).returncode == 0
    undisturbed = tmp_path / "undisturbed"
    assert run(["pg-sweep", str(file)], undisturbed, patience=900).returncode == 0
    assert table(home) == table(undisturbed)
    assert_rows_whole(home)


@dataclass
class Death:
    """Who dies of what, and what the command then says; None where it is to go on."""

    victim: str
    number: signal.Signals
    code: int | None


DEATHS = {
    "raylet": Death("raylet", signal.SIGKILL, 4),
    "GCS": Death("gcs_server", signal.SIGKILL, 4),
    "driver": Death("driver", signal.SIGKILL, -9),
    "worker": Death("worker", signal.SIGKILL, None),
    "SIGTERM": Death("driver", signal.SIGTERM, 143),
    "SIGHUP": Death("driver", signal.SIGHUP, 129),
    "job": Death("all", signal.SIGTERM, 143),
}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_whatever_dies_at_whatever_moment_nothing_is_lost_and_it_is_told(tmp_path: Path) -> None:
    """PG_KILLS deaths, each kind in turn; PG_DEATHS names those that are wanted.

    What was told, and after how long, stands in deaths.txt of the test's folder.
    """
    changes = {
        "parameters": vocabularies(2, 4, 8, 16, 32, 64),
        "experiment": {"epochs": EPOCHS},
        "max_failures": KILLS,
    }
    file, home = sweep(tmp_path, changes)
    chance = random.Random(2)
    kinds = os.environ.get("PG_DEATHS", ",".join(DEATHS)).split(",")
    finished: dict[str, str] = {}
    for kind, _ in zip(cycle(kinds), range(KILLS), strict=False):
        process = start(["pg-sweep", str(file)], home)
        moment = wait_for_a_moment(process, home, chance)
        told = killed(process, DEATHS[kind])
        errors = (home / "stderr.txt").read_text()
        with (tmp_path / "deaths.txt").open("a") as log:
            log.write(f"{kind} at {moment}: {told}, code {process.returncode}, {errors!r}\n")
        ended = finished_runs(home)
        assert finished.items() <= ended.items()
        finished = ended
    assert run(["pg-sweep", str(file)], home, patience=900).returncode == 0
    undisturbed = tmp_path / "undisturbed"
    assert run(["pg-sweep", str(file)], undisturbed, patience=900).returncode == 0
    assert table(home) == table(undisturbed)
    assert_rows_whole(home)


def wait_for_a_moment(driver: subprocess.Popen[str], home: Path, chance: random.Random) -> str:
    """In three of ten calls a moment of the start, else one while trials train; in words."""
    if chance.random() < 0.3:
        seconds = chance.uniform(1, 15)
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=seconds)
        return f"{seconds:.1f} s"
    before, more = rows_written(home), chance.randrange(1, 2 * EPOCHS)
    while driver.poll() is None and rows_written(home) < before + more:
        time.sleep(0.05)
    return f"{more} rows"


def killed(driver: subprocess.Popen[str], death: Death) -> str:
    """Kill, and see that the driver ends as it should: the seconds that takes, in words."""
    there = [p for p in processes(driver) if death.victim in (role(p, driver), "all")]
    if not there:
        driver.kill()
        driver.wait()
        return "nothing, no such process yet"
    began = time.monotonic()
    for each in there if death.victim == "all" else there[:1]:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(death.number)
    if death.code is None:
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=10)
        driver.send_signal(signal.SIGINT)
        driver.wait(timeout=PATIENCE)
        return "nothing, it goes on"
    driver.wait(timeout=PATIENCE)
    seconds = time.monotonic() - began
    assert driver.returncode in (death.code, 0, -death.number), death
    assert seconds < TOLD_SECONDS + (GRACE if death.number != signal.SIGKILL else 0)
    return f"told in {seconds:.1f} s"


def processes(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """The driver and all that it has started; none where it has ended."""
    if driver.poll() is not None:
        return []
    own = psutil.Process(driver.pid)
    return [own, *own.children(recursive=True)]


def role(process: psutil.Process, driver: subprocess.Popen[str]) -> str:
    with suppress(psutil.NoSuchProcess):
        if "ImplicitFunc" in " ".join(process.cmdline()):
            return "worker"
        return "driver" if process.pid == driver.pid else process.name()
    return "gone"


def finished_runs(home: Path) -> dict[str, str]:
    """Run ids of the finished trials by name; none where the driver had not come that far."""
    if not (home / "mlflow.db").exists():
        return {}
    with Store.open(home) as store:
        started = bool(store.sweeps())
    found = runs(home) if started else {}
    return {name: stored.run_id for name, stored in found.items() if stored.status == "FINISHED"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_killed_at_many_moments_change_nothing(tmp_path: Path) -> None:
    """The moments are drawn by how many rows the trials have written between them."""
    changes = {
        "parameters": vocabularies(2, 4, 8, 16, 32, 64),
        "experiment": {"epochs": EPOCHS},
        "max_failures": WORKER_KILLS,
    }
    file, home = sweep(tmp_path, changes)
    chance = random.Random(1)
    moments = sorted(chance.sample(range(1, 12 * EPOCHS), WORKER_KILLS))
    process = start(["pg-sweep", str(file)], home)
    for moment in moments:
        wait_until(partial(has_written, home, moment), process)
        chance.choice(trial_processes(process)).kill()
    assert process.wait(timeout=900) == 0, (home / "stderr.txt").read_text()
    assert sum(int(stored.tags["pg.attempt"]) - 1 for stored in runs(home).values()) > 0
    undisturbed = tmp_path / "undisturbed"
    assert run(["pg-sweep", str(file)], undisturbed, patience=900).returncode == 0
    assert table(home) == table(undisturbed)
    assert_rows_whole(home)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_that_dies_takes_no_trial_with_it(tmp_path: Path) -> None:
    """Two nodes of one CPU each; the second dies with a trial on it, and the first takes over."""
    file, home = sweep(tmp_path, {"experiment": {"epochs": EPOCHS}})
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        other = cluster.add_node(num_cpus=1)
        process = start(["pg-sweep", str(file), "--address", cluster.address], home)
        wait_until(lambda: len(list(home.glob("trials/*/step-*"))) >= 2, process)
        cluster.remove_node(other, allow_graceful=False)
        assert process.wait(timeout=400) == 0, (home / "stderr.txt").read_text()
        assert set(reasons(home).values()) == {"completed"}
        assert any(stored.tags["pg.attempt"] == "2" for stored in runs(home).values())
        assert_rows_whole(home)
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trial_leaves_a_checkpoint_when_its_node_is_drained(tmp_path: Path) -> None:
    """As a spot machine is that has a notice; in the first epoch, which leaves none by itself."""
    data = {"count": 60_000}
    changes = {"experiment": {"epochs": 1, "data": data}, "seeds": 1, "parameters": vocabularies(8)}
    file, home = sweep(tmp_path, changes)
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        drained = cluster.add_node(num_cpus=1)
        process = start(["pg-sweep", str(file), "--address", cluster.address], home)
        wait_until(lambda: "V=8 seed=0  running" in (home / "stdout.txt").read_text(), process)
        cluster.add_node(num_cpus=1)
        notice = [
            *(BIN / "ray", "drain-node", "--address", cluster.address),
            *("--node-id", drained.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
            *("--reason-message", "a notice", "--deadline-remaining-seconds", "120"),
        ]
        subprocess.run(notice, check=True)
        wait_until(lambda: bool(list(home.glob("trials/*/step-*"))), process)
        assert "its node is drained" in (home / "stdout.txt").read_text()
        assert not list(Journal(next(home.glob("trials/*/metrics.jsonl"))).rows())
        cluster.remove_node(drained, allow_graceful=False)
        assert process.wait(timeout=600) == 0, (home / "stderr.txt").read_text()
        assert set(reasons(home).values()) == {"completed"}
        assert_rows_whole(home)
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_full_disk_interrupts_and_room_lets_the_sweep_go_on(tmp_path: Path) -> None:
    """The trials' folder lies on a disk of its own, of a few checkpoints' size."""
    file, home = sweep(tmp_path, {"seeds": 1})
    disk, kept = home / "trials", tmp_path / "kept"
    disk.mkdir(parents=True)
    mounted = f"mount -t tmpfs -o size={SMALL_DISK} small {disk}"
    command = f"{mounted} && {BIN / 'pg-sweep'} {file}; code=$?; cp -r {disk} {kept}; exit $code"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], check=False).returncode:
        pytest.skip("this machine lets no test mount a disk of its own")
    full = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 4, full.stdout + full.stderr
    assert "error: the disk is full" in full.stderr
    assert str(disk) in full.stderr
    assert "the same command" in full.stderr
    assert "the disk is full" in reasons(home).values()
    assert not list(kept.glob("*/.partial-*"))
    shutil.rmtree(disk)
    shutil.move(kept, disk)
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(reasons(home).values()) == {"completed"}


def trial_processes(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of Ray that train trials of one worker; waits until there is one."""
    found: list[psutil.Process] = []

    def some() -> bool:
        children = psutil.Process(driver.pid).children(recursive=True)
        found[:] = [child for child in children if "ImplicitFunc" in " ".join(child.cmdline())]
        return bool(found)

    wait_until(some, driver)
    return found


def has_written(home: Path, rows: int) -> bool:
    """Whether the trials have reported so many epochs to their folders, together."""
    return rows_written(home) >= rows


def rows_written(home: Path) -> int:
    return sum(len(Journal(path).rows()) for path in home.glob("trials/*/metrics.jsonl"))


def assert_rows_whole(home: Path) -> None:
    """Each epoch of each trial stands once in the store."""
    with Store.open(home) as store:
        for stored in runs(home).values():
            steps = [step for step, _ in store.history(stored.run_id, "train/loss")]
            assert steps == sorted(set(steps))
            assert len(steps) == int(stored.params["epochs"])
