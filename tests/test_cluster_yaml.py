"""cluster.yaml is what `ray up` accepts, costs nothing when idle and opens nothing but SSH."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.aws.config import _create_default_inbound_rules
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()

Prepared = dict[str, Any]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """The file with Ray's own defaults filled in, as `ray up` does before it calls AWS."""
    return prepare_config(yaml.safe_load(TEXT))  # type: ignore[no-any-return]


def workers(prepared: Prepared) -> dict[str, Prepared]:
    types = prepared["available_node_types"].items()
    return {name: kind for name, kind in types if name != prepared["head_node_type"]}


def commands(prepared: Prepared) -> list[str]:
    return [line for key, lines in prepared.items() if key.endswith("_commands") for line in lines]


def test_ray_accepts_it(prepared: Prepared) -> None:
    validate_config(prepared)


def test_ray_would_refuse_a_misspelt_key(prepared: Prepared) -> None:
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepared | {"idle_timeout": 5})


def test_the_head_has_no_gpu_and_room_for_drivers(prepared: Prepared) -> None:
    head = prepared["available_node_types"][prepared["head_node_type"]]
    assert head["resources"]["GPU"] == 0
    assert head["max_workers"] == 0
    assert head["resources"]["pg_driver"] == 1000
    assert any(
        "ray start --head" in line and "--resources='{\"pg_driver\": 1000}'" in line
        for line in prepared["head_start_ray_commands"]
    )


def test_workers_start_from_zero_and_are_limited(prepared: Prepared) -> None:
    assert prepared["idle_timeout_minutes"] <= 15
    assert not prepared["provider"]["cache_stopped_nodes"]
    for kind in workers(prepared).values():
        assert kind["min_workers"] == 0
        assert 0 < kind["max_workers"] <= prepared["max_workers"]
        assert kind["resources"]["GPU"] >= 1


def test_spot_nodes_come_before_on_demand_ones(prepared: Prepared) -> None:
    spot = {
        name
        for name, kind in workers(prepared).items()
        if kind["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}
    }
    priority = {name: kind["priority"] for name, kind in workers(prepared).items()}
    assert spot
    assert spot != set(priority)
    assert min(priority[name] for name in spot) > max(
        priority[name] for name in set(priority) - spot
    )


def test_the_internet_reaches_port_22_only(prepared: Prepared) -> None:
    assert set(prepared["provider"]["security_group"]) == {"GroupName"}
    rules = _create_default_inbound_rules({"sg-of-the-cluster"})
    from_outside = [rule for rule in rules if "IpRanges" in rule or "Ipv6Ranges" in rule]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]
    for kind in prepared["available_node_types"].values():
        assert not {"SecurityGroupIds", "NetworkInterfaces"} & set(kind["node_config"])


def test_nothing_listens_beyond_loopback_on_purpose(prepared: Prepared) -> None:
    everywhere = re.compile(r"(?<!\d)0\.0\.0\.0")
    assert not everywhere.search(TEXT)
    assert not any(everywhere.search(line) for line in commands(prepared))
    head = next(line for line in prepared["head_start_ray_commands"] if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head
    assert "RAY_AUTH_MODE=token" in " ".join(prepared["setup_commands"])
    assert "~/.ray/auth_token" in prepared["file_mounts"]


def test_every_command_is_a_shell_command(prepared: Prepared) -> None:
    for line in commands(prepared):
        checked = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)
        assert checked.returncode == 0, f"{line}\n{checked.stderr}"


def test_nodes_install_what_the_lock_says_with_the_same_uv(prepared: Prepared) -> None:
    setup = " ".join(prepared["setup_commands"])
    assert "--require-hashes" in setup
    assert "requirements.lock" in setup
    pinned = re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())
    assert pinned is not None
    assert f"uv=={pinned[1]}" in setup
    assert re.search(r"^boto3==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
