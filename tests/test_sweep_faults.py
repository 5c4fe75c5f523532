"""Sweeps that meet trouble, limits or a second terminal, on the real Ray and the real store."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from pg_platform.store.server import server_command, server_environment
from pg_platform.store.store import Store
from tests.commands import run, start
from tests.small_sweeps import reasons, runs, sweep, table, vocabularies, wait_until

pytestmark = pytest.mark.slow

NO_MEMORY = 2**40
"""Hidden units of a head that no machine holds: the allocator refuses at once."""


def test_points_that_fall_behind_are_stopped_and_stay_so(tmp_path: Path) -> None:
    early = {"type": "asha", "min_epochs": 1, "reduction_factor": 2, "min_points": 2}
    changes = {"early_terminate": early, "parameters": vocabularies(2, 8, 32, 64)}
    file, home = sweep(tmp_path, {**changes, "experiment": {"epochs": 3}})
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 0, done.stderr
    ended = reasons(home)
    groups = {name.split()[0] for name, reason in ended.items() if reason == "completed"}
    assert groups
    assert len(groups) < 4
    for name, reason in ended.items():  # both seeds of a point share its fate
        assert reason == ("completed" if name.split()[0] in groups else "pruned")
    rows = list(csv.DictReader(table(home).splitlines()))
    assert sum(int(row["pruned"]) for row in rows) == 8 - 2 * len(groups)
    again = run(["pg-sweep", str(file)], home)
    assert "8 trials: 0 run now" in again.stdout, again.stdout + again.stderr


def test_a_budget_stops_new_trials_and_the_next_call_goes_on(tmp_path: Path) -> None:
    changes = {"budget": {"trials": 3}, "resources": {"max_concurrent": 1}}
    file, home = sweep(tmp_path, changes)
    first = run(["pg-sweep", str(file)], home)
    assert first.returncode == 3, first.stdout + first.stderr
    assert "budget.trials" in first.stderr
    assert list(reasons(home).values()) == ["completed"] * 3
    assert run(["pg-sweep", str(file)], home).returncode == 0
    assert list(reasons(home).values()) == ["completed"] * 4


def test_a_point_that_does_not_fit_is_marked_and_not_tried_again(tmp_path: Path) -> None:
    changes = {"parameters": {"listener.head.hidden": {"values": [16, NO_MEMORY]}}}
    file, home = sweep(tmp_path, changes | {"resources": {"max_concurrent": 1}})
    file.write_text(
        file.read_text().replace("  speaker.vocab_size:\n    values:\n    - 2\n    - 8\n", "")
    )
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert sorted(reasons(home).values()) == ["completed", "completed", "infeasible", "infeasible"]
    fits, other = csv.DictReader(table(home).splitlines())
    assert (fits["n"], fits["infeasible"]) == ("2", "0")
    assert (other["n"], other["infeasible"]) == ("0", "2")
    again = run(["pg-sweep", str(file)], home)
    assert "0 run now" in again.stdout
    assert "--retry-infeasible" in again.stdout
    retried = run(["pg-sweep", str(file), "--retry-infeasible"], home)
    assert retried.returncode == 1
    assert "out of memory" in retried.stderr


def test_equal_failures_end_a_sweep_and_are_shown_once(tmp_path: Path) -> None:
    changes = {
        "experiment": {"optimizer": {"kind": "sgd", "lr": 1e30}},
        "resources": {"max_concurrent": 1},
        "seeds": 8,
    }
    file, home = sweep(tmp_path, changes)
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 1
    assert list(reasons(home).values()) == ["error"] * 3
    assert "equal_failures" in done.stdout
    left = run(["pg-sweep", str(file), "--dry-run", "--json"], home)
    fates = [trial["will"] for trial in json.loads(left.stdout)["trials"]]
    assert fates.count("failed") == 3
    assert fates.count("run") == 13


def test_what_another_sweep_has_finished_is_taken_over(tmp_path: Path) -> None:
    file, home = sweep(tmp_path, {"seeds": 1})
    assert run(["pg-sweep", str(file)], home).returncode == 0
    wider = ["--set", "name=wider", "--set", "parameters.speaker.vocab_size.values=[8, 32]"]
    dry = run(["pg-sweep", str(file), *wider, "--dry-run"], home)
    assert "reused from sweep small" in dry.stdout, dry.stderr
    done = run(["pg-sweep", str(file), *wider], home)
    assert "2 trials: 1 run now, 1 finished before" in done.stdout, done.stdout + done.stderr
    known, taken = runs(home)["V=8 seed=0"], runs(home, "wider")["V=8 seed=0"]
    assert taken.tags["pg.reused_run"] == known.run_id
    with Store.open(home) as store:
        for metric in ("train/loss", "val/top1_pool64"):
            assert store.history(taken.run_id, metric) == store.history(known.run_id, metric)


def test_two_sweeps_at_once_train_what_they_share_one_time(tmp_path: Path) -> None:
    """What a trial measured of its own speed is the same in both: it is the same training."""
    file, home = sweep(tmp_path, {"seeds": 1, "experiment": {"epochs": 12}})
    names = ("one", "other")
    drivers = [start(["pg-sweep", str(file), "--set", f"name={name}"], home) for name in names]
    assert [driver.wait(timeout=250) for driver in drivers] == [0, 0]
    first, second = (runs(home, name) for name in names)
    assert first.keys() == second.keys() == {"V=2 seed=0", "V=8 seed=0"}
    with Store.open(home) as store:
        for trial in first:
            speeds, others = (
                store.history(found[trial].run_id, "perf/images_per_s") for found in (first, second)
            )
            assert len(speeds) == 12
            assert speeds == others


def test_fresh_sets_results_aside(tmp_path: Path) -> None:
    file, home = sweep(tmp_path, {"seeds": 1})
    assert run(["pg-sweep", str(file)], home).returncode == 0
    before = runs(home)
    done = run(["pg-sweep", str(file), "--fresh"], home)
    assert "2 trials: 2 run now, 0 finished before" in done.stdout, done.stdout + done.stderr
    after = runs(home)
    assert not {r.run_id for r in before.values()} & {r.run_id for r in after.values()}
    with Store.open(home) as store:
        assert store.look(before["V=8 seed=0"].run_id).status == "FINISHED"


def test_a_search_takes_its_points_and_no_more(tmp_path: Path) -> None:
    file, home = sweep(tmp_path, {"method": "bayes", "samples": 3, "seeds": 1})
    file.write_text(
        file.read_text().replace(
            "    values:\n    - 2\n    - 8\n", "    {min: 2, max: 64, distribution: log_int}\n"
        )
    )
    done = run(["pg-sweep", str(file)], home)
    assert done.returncode == 0, done.stderr
    found = runs(home)
    assert len(found) == 3
    again = run(["pg-sweep", str(file)], home)
    assert "3 trials: 0 run now, 3 finished before" in again.stdout, again.stdout + again.stderr
    more = run(["pg-sweep", str(file), "--set", "samples=4"], home)
    assert more.returncode == 0, more.stderr
    assert len(runs(home)) == 4
    assert found.keys() < runs(home).keys()


def test_another_terminal_sees_the_sweep_and_stops_parts_of_it(tmp_path: Path) -> None:
    file, home = sweep(tmp_path, {"experiment": {"epochs": 500}, "seeds": 2})
    process = start(["pg-sweep", str(file)], home)

    def running() -> list[str]:
        told = run(["pg-sweep", str(file), "--status", "--json"], home)
        trials = json.loads(told.stdout)["trials"] if told.returncode == 0 else []
        return [t["name"] for t in trials if t["state"] == "running" and t["epoch"]]

    wait_until(lambda: bool(running()), process)
    (victim, *_) = running()
    assert run(["pg-sweep", str(file), "--kill", victim], home).returncode == 0
    wait_until(lambda: victim not in running(), process)
    unknown = run(["pg-sweep", str(file), "--kill", "V=9 seed=0"], home)
    assert unknown.returncode == 2
    assert "has no trial 'V=9 seed=0'" in unknown.stderr
    assert run(["pg-sweep", str(file), "--stop"], home).returncode == 0
    assert process.wait(timeout=120) == 130
    assert reasons(home)[victim] == "killed"
    assert run(["pg-sweep", str(file), "--stop"], home).returncode == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_that_hangs_is_ended_and_taken_up_again(tmp_path: Path) -> None:
    changes = {"stall_after": "8s", "experiment": {"epochs": 30}, "seeds": 1}
    file, home = sweep(tmp_path, changes | {"parameters": vocabularies(8)})
    process = start(["pg-sweep", str(file)], home)
    wait_until(lambda: bool(list(home.glob("trials/*/step-*"))), process)
    worker = next(
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ImplicitFunc" in " ".join(child.cmdline())
    )
    worker.send_signal(signal.SIGSTOP)
    assert process.wait(timeout=300) == 0, (home / "stderr.txt").read_text()
    (stored,) = runs(home).values()
    assert stored.tags["pg.attempt"] == "2"
    assert "nothing was heard" in stored.tags["pg.stalled"]
    with Store.open(home) as store:
        steps = [step for step, _ in store.history(stored.run_id, "train/loss")]
    assert steps == list(range(1, 31))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_trials_of_several_workers_that_are_stopped_early_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    """12 trials of two workers each on 4 CPUs, no dashboard, a second cluster on the host."""
    early = {"type": "asha", "min_epochs": 1, "reduction_factor": 3, "min_points": 2}
    changes = {
        "early_terminate": early,
        "parameters": vocabularies(2, 4, 8, 16, 32, 64),
        "resources": {"workers": 2},
        "experiment": {"epochs": 2},
    }
    file, home = sweep(tmp_path, changes)
    node = {"num_cpus": 4, "resources": {"pg_driver": 1000}, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    other = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 1})
    try:
        done = run(["pg-sweep", str(file), "--address", cluster.address], home, patience=1000)
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(reasons(home).values()).count("pruned") >= 6
        ray.init(address=cluster.address, log_to_driver=False)
        groups = ray.util.placement_group_table().values()
        assert {group["state"] for group in groups} <= {"REMOVED"}
        assert ray.available_resources()["CPU"] == 4
        actors = ray._private.state.actors().values()
        # one detached actor a cluster is Ray Train's own, and holds nothing
        alive = [a for a in actors if a["State"] == "ALIVE" and not a["IsDetached"]]
        assert alive == []
    finally:
        ray.shutdown()
        cluster.shutdown()
        other.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_store_that_is_away_for_a_while_gets_everything_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The MLflow server dies while trials run and comes back on the same database."""
    port, database = _free_port(), f"sqlite:///{tmp_path / 'mlflow.db'}"
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    server = _serve(database, tmp_path, port)
    try:
        file, home = sweep(tmp_path, {"experiment": {"epochs": 60}, "seeds": 1})
        process = start(["pg-sweep", str(file)], home, uri)
        wait_until(lambda: bool(list(home.glob("trials/*/step-*"))), process)
        server.kill()
        server.wait()
        begun = {path: path.stat().st_size for path in home.glob("trials/*/metrics.jsonl")}
        wait_until(lambda: any(p.stat().st_size > 2 * size for p, size in begun.items()), process)
        server = _serve(database, tmp_path, port)
        assert process.wait(timeout=300) == 0, (home / "stderr.txt").read_text()
        with Store.open(home) as store:
            for stored in runs(home).values():
                assert stored.status == "FINISHED"
                steps = [step for step, _ in store.history(stored.run_id, "train/loss")]
                assert steps == list(range(1, 61))
    finally:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(database: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """An MLflow server that answers."""
    server = subprocess.Popen(
        server_command(database, folder / "artifacts", port), env=server_environment()
    )
    while not _answers(port):
        assert server.poll() is None, "the server ended"
        time.sleep(0.2)
    return server


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
