"""MLflow's pages on loopback, in their small form, and the links worth opening there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from pg_platform.config.errors import InfrastructureError
from pg_platform.files import driver_lock, is_held
from pg_platform.store.mlflow_views import VIEWS, run_link, view_link
from pg_platform.store.store import Store
from pg_platform.store.stored_run import StoredRun


def serve(root: Path, port: int, *, echo: Callable[[str], object]) -> None:
    """Serves the store on 127.0.0.1 until Ctrl-C, and says where to look once it answers.

    A store that is a server already is only named. Runs whose driver died are closed first.
    Raises InfrastructureError where the port is taken or the server fails.
    """
    with Store.open(root) as store:
        if store.uri.startswith("http"):
            _say(links(store.uri, store.sweeps()), echo)
            return
        if _is_taken(port):
            raise InfrastructureError(f"port {port} is taken; give another one with --port")
        if store.database is not None:  # drivers on other stores may live on other machines
            _close_abandoned(store, echo)
        uri, artifacts, sweeps = store.uri, store.artifacts, store.sweeps()
    echo("MLflow is starting; this takes 10 to 30 s")
    command = server_command(uri, artifacts, port)
    # The server gets Ctrl-C too, and ends.
    with suppress(KeyboardInterrupt), ExitStack() as at_exit:
        server = at_exit.enter_context(subprocess.Popen(command, env=server_environment()))
        at_exit.callback(server.terminate)  # a signal may have come to this process alone
        _wait_until_up(server, port)
        _say(links(f"http://127.0.0.1:{port}/", sweeps), echo)
        if server.wait():
            raise InfrastructureError(f"the MLflow server ended with code {server.returncode}")


def server_command(uri: str, artifacts: Path, port: int) -> list[str]:
    """The command line of a server with one worker for the store at `uri`, on 127.0.0.1 only."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri),
        *("--default-artifact-root", artifacts.as_uri()),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--uvicorn-opts", "--log-level=critical"),
    ]


def server_environment() -> dict[str, str]:
    """This process's environment, without MLflow's job processes, telemetry and warnings."""
    return {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def links(base_url: str, sweeps: Sequence[StoredRun]) -> Iterator[str]:
    """Lines with the addresses of each sweep's report and views, the newest sweep last."""
    base = base_url.rstrip("/") + "/"
    yield f"MLflow: {base}"
    for sweep in sweeps:
        yield f"\n{sweep.name}"
        yield f"  {'Report':<16}{run_link(base, sweep.experiment_id, sweep.run_id)}"
        for key, name in VIEWS.items():
            yield f"  {name:<16}{view_link(base, sweep.experiment_id, key)}"


def _close_abandoned(store: Store, echo: Callable[[str], object]) -> None:
    closed = store.close_abandoned(lambda name: is_held(driver_lock(store.root, name)))
    if closed:
        echo(f"closed, as their driver has died: {', '.join(closed)}")


def _say(lines: Iterator[str], echo: Callable[[str], object]) -> None:
    for line in lines:
        echo(line)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until_up(server: subprocess.Popen[bytes], port: int) -> None:
    """Returns when the server listens, or has ended."""
    while server.poll() is None and not _is_taken(port):
        time.sleep(0.3)
