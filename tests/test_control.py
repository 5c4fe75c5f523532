"""How another terminal sees a sweep and asks something of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pg_platform.driver.control import Control, Request, Unread, began, obey
from pg_platform.store.runs import TrialRuns
from pg_platform.training.history import Outcome
from tests.results import vocabularies
from tests.scheduling import scheduler, started

DRIVER = """
import sys
from pathlib import Path
from pg_platform.driver.control import Control
control = Control(Path(sys.argv[1]), "sweep")
control.open()
control.write({"running": True, "trials": []}, now=True)
print("up", flush=True)
sys.stdin.read()
"""


@contextmanager
def driving(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has written a status, and lives until its input ends."""
    command = [sys.executable, "-c", DRIVER, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process


def opened(root: Path) -> Control:
    """The sweep's control, this process its driver."""
    control = Control(root, "sweep")
    control.open()
    control.write({"running": True, "trials": []}, now=True)
    return control


def is_running(root: Path) -> bool:
    status = Control(root, "sweep").status()
    assert status is not None
    return bool(status["running"])


def test_status_goes_from_the_driver_to_others(tmp_path: Path) -> None:
    driver = Control(tmp_path, "sweep")
    driver.open()
    assert Control(tmp_path, "sweep").status() is None
    trials = [{"name": "V=2 seed=0", "state": "running", "epoch": "1/9", "value": "0.5000"}]
    driver.write({"running": True, "trials": trials})
    status = Control(tmp_path, "sweep").status()
    assert status is not None
    assert (status["running"], status["trials"], status["sweep"]) == (True, trials, "sweep")
    assert status["pid"] == os.getpid()
    assert Control(tmp_path, "other").status() is None


def test_status_is_kept_at_most_once_a_second_unless_it_is_the_last(tmp_path: Path) -> None:
    driver = opened(tmp_path)
    driver.written += 3600.0  # as if the last status had been written in an hour from now
    driver.write({"running": False, "trials": []})
    assert is_running(tmp_path)
    driver.write({"running": False, "trials": []}, now=True)
    assert not is_running(tmp_path)


def test_a_driver_runs_as_long_as_its_process(tmp_path: Path) -> None:
    with driving(tmp_path) as process:
        assert is_running(tmp_path)
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and a zombie
        assert not is_running(tmp_path)
    assert not is_running(tmp_path)


def test_another_process_with_the_number_of_the_driver_is_not_the_driver(tmp_path: Path) -> None:
    with driving(tmp_path):
        pass
    file = tmp_path / "control" / "sweep" / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": os.getpid()}))
    assert not is_running(tmp_path)
    file.write_text(json.dumps({"running": True, "pid": os.getpid(), "trials": []}))
    assert not is_running(tmp_path)  # as it was written before processes were told apart


def test_a_driver_of_another_user_is_seen(tmp_path: Path) -> None:
    """The first process of a machine belongs to root; nothing is asked of it, only read."""
    first = Control(tmp_path, "sweep")
    first.open()
    first.write({"running": True, "trials": [], "pid": 1, "began": began(1)}, now=True)
    assert is_running(tmp_path)


@pytest.mark.parametrize("request_", [Request("stop"), Request("cancel"), Request("kill", "a")])
def test_nothing_is_asked_of_a_sweep_without_a_driver(tmp_path: Path, request_: Request) -> None:
    remedy = r"no driver runs the sweep sweep .*start it with pg-sweep"
    with pytest.raises(ValueError, match=remedy):
        Control(tmp_path, "sweep").ask(request_)
    with driving(tmp_path):
        Control(tmp_path, "sweep").ask(request_)
    with pytest.raises(ValueError, match=remedy):
        Control(tmp_path, "sweep").ask(request_)
    assert list(Control(tmp_path, "sweep").requests()) == [request_]


def test_requests_come_once_and_the_oldest_first(tmp_path: Path) -> None:
    driver, other = opened(tmp_path), Control(tmp_path, "sweep")
    asked = [Request("kill", f"V={n} seed=0") for n in (3, 1, 2)] + [Request("stop")]
    for request in asked:
        other.ask(request)
    assert list(driver.requests()) == asked
    assert list(driver.requests()) == []
    other.ask(Request("cancel"))
    assert list(driver.requests()) == [Request("cancel")]


def test_what_was_asked_of_an_earlier_driver_is_void(tmp_path: Path) -> None:
    opened(tmp_path).ask(Request("stop"))
    assert list(opened(tmp_path).requests()) == []


def test_half_of_a_file_is_not_read(tmp_path: Path) -> None:
    driver = opened(tmp_path)
    driver.ask(Request("stop"))
    (whole,) = driver.folder.glob("request-*.json")
    partial = whole.with_name(f".{whole.name}")
    whole.rename(partial)
    partial.write_text(partial.read_text()[:9])
    (driver.folder / ".status.json").write_text('{"running": fal')
    assert list(driver.requests()) == []
    assert is_running(tmp_path)


WRITER = """
import sys
from pathlib import Path
from pg_platform.driver.control import Control, Request
control = Control(Path(sys.argv[1]), "sweep")
for n in range(200):
    control.ask(Request("kill", f"{n}-" + 100_000 * "x"))
"""


def test_requests_are_whole_while_another_process_writes_them(tmp_path: Path) -> None:
    driver, found = opened(tmp_path), list[Request | Unread]()
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) as writer:
        while writer.poll() is None:
            found += driver.requests()
    found += driver.requests()
    assert writer.returncode == 0
    assert [r.trial.partition("-")[0] for r in found if isinstance(r, Request) and r.trial] == [
        str(n) for n in range(200)
    ]


BROKEN = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'{"verb": "stop"}',
    b'{"verb": "halt", "trial": null}',
    b'{"verb": "kill", "trial": null}',
    b'{"verb": "stop", "trial": "V=2 seed=0"}',
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_request_that_is_none_is_told_and_the_others_are_done(
    tmp_path: Path, runs: TrialRuns, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    driver, stopped = opened(tmp_path), list[str]()
    (driver.folder / "request-0.json").write_bytes(content)
    driver.ask(Request("stop"))
    made = scheduler(runs, vocabularies([2, 64], seeds=1))
    running = started(made).trial
    obey(made, driver, stopped.extend)
    assert stopped == [running.id]
    told = capsys.readouterr().out
    assert told.count("was not understood") == 1
    aside = driver.folder / "unread-request-0.json"
    assert str(aside) in told
    assert aside.read_bytes() == content
    obey(made, driver, stopped.extend)
    assert "was not understood" not in capsys.readouterr().out


def obeyed(root: Path, runs: TrialRuns, requests: Sequence[Request]) -> tuple[list[str], set[str]]:
    """Two trials, one of which runs: those asked to stop, and those that do not start any more."""
    driver, stopped = opened(root), list[str]()
    made = scheduler(runs, vocabularies([2, 64], seeds=1))
    running = started(made).trial
    for request in requests:
        driver.ask(request)
    obey(made, driver, stopped.extend)
    if stopped:
        made.end(running, Outcome.INTERRUPTED)
    made.next()
    made.abandon()
    return stopped, made.record.verdict.not_started


def test_stop_lets_the_running_checkpoint_and_starts_none(tmp_path: Path, runs: TrialRuns) -> None:
    assert obeyed(tmp_path, runs, [Request("stop")]) == (["V=2_seed=0"], {"V=64_seed=0"})


def test_kill_takes_one_trial_by_its_name_or_id(
    tmp_path: Path, runs: TrialRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = [Request("kill", "V=64 seed=0"), Request("kill", "V=2_seed=0")]
    assert obeyed(tmp_path, runs, requests) == (["V=2_seed=0"], {"V=64_seed=0"})
    assert obeyed(tmp_path, runs, [Request("kill", "V=9 seed=0")])[0] == []
    assert "asked to kill V=9 seed=0, which is no trial here" in capsys.readouterr().out


def test_cancel_ends_the_driver_at_once(tmp_path: Path, runs: TrialRuns) -> None:
    driver, made = opened(tmp_path), scheduler(runs, vocabularies([2], seeds=1))
    driver.ask(Request("cancel"))
    with pytest.raises(KeyboardInterrupt):
        obey(made, driver, lambda _: None)
    assert made.record.verdict.cancelled
    assert made.closed == "cancelled"


def test_the_driver_tells_how_its_trials_stand(tmp_path: Path, runs: TrialRuns) -> None:
    driver, made = Control(tmp_path, "sweep"), scheduler(runs, vocabularies([2, 64], seeds=1))
    driver.open()
    started(made)
    obey(made, driver, lambda _: None)
    status = Control(tmp_path, "sweep").status()
    assert status is not None
    assert [trial["state"] for trial in status["trials"]] == ["running", "waiting"]
