"""What pg-ui starts and prints."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pg_platform.config.errors import InfrastructureError
from pg_platform.store.mlflow_views import VIEWS
from pg_platform.store.server import links, serve, server_command, server_environment
from pg_platform.store.store import Store
from tests.results import stored


def test_the_server_is_small_and_on_loopback_only() -> None:
    command = server_command("sqlite:////store/mlflow.db", Path("/store/artifacts"), 5001)
    assert command[1:4] == ["-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == "sqlite:////store/mlflow.db"
    assert options["--default-artifact-root"] == "file:///store/artifacts"
    assert (options["--host"], options["--port"], options["--workers"]) == (
        "127.0.0.1",
        "5001",
        "1",
    )
    environment = server_environment()
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_each_sweep_has_a_link_to_its_report_and_to_each_view() -> None:
    sweep = replace(stored({}), run_id="abc", experiment_id="7", name="sweep lr")
    text = "\n".join(links("http://127.0.0.1:5000", [sweep]))
    assert "sweep lr" in text
    assert "http://127.0.0.1:5000/#/experiments/7/runs/abc?" in text
    for key in VIEWS:
        assert f"viewStateShareKey={key}" in text


def test_a_taken_port_is_named(store: Store) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InfrastructureError, match=f"port {port} is taken"):
            serve(store.artifacts.parent, port, echo=said.append)
    assert said == []


def test_a_store_that_is_a_server_is_only_named() -> None:
    assert next(links("http://tracking:5000/", [])) == "MLflow: http://tracking:5000/"
