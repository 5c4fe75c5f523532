"""The Ray cluster that trials run on: a private one on this machine, or a running one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import ray

from pg_platform.config.errors import InfrastructureError

NAMESPACE = "pg_platform"
DRIVER_RESOURCE = "pg_driver"
"""What the driver of a several-worker trial asks for instead of a CPU.

A driver that holds a CPU starves its own workers on a small machine.
"""
_DRIVERS_AT_MOST = 1000
_OBJECT_STORE_BYTES = 256 * 2**20  # trials exchange rows of metrics, never tensors


class ClusterError(InfrastructureError):
    """Ray cannot be started or reached, or cannot hold what a trial asks for."""


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Connect to the cluster at RAY_ADDRESS, else to a private one that ends with this process.

    `environment.prepare` was called before this file was imported.
    """
    try:
        if "RAY_ADDRESS" in os.environ:
            ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level="error")
        else:
            _start_private()
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise ClusterError(f"Ray cannot be reached: {error}") from error
    with ExitStack() as at_exit:
        at_exit.callback(ray.shutdown)
        yield


def _start_private() -> None:
    ray.init(
        address="local",
        namespace=NAMESPACE,
        resources={DRIVER_RESOURCE: _DRIVERS_AT_MOST},
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _node_ip_address="127.0.0.1",
    )


def check_capacity(wanted: Mapping[str, float]) -> None:
    """Refuse a worker that asks for more than any node of this machine has; see `trial.request`.

    A cluster that was there before may scale up, so it is taken at its word.
    """
    if "RAY_ADDRESS" in os.environ:
        return
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(n.get(name, 0.0) >= much for name, much in wanted.items()) for n in nodes):
        have = ", ".join(_told(node) for node in nodes)
        raise ClusterError(
            f"a worker asks for {_told(wanted)} and the machine has {have}; lower it with --set "
            "resources.cpus_per_worker=1, --set resources.gpus_per_worker=0 or --set "
            "resources.gib_per_worker=0"
        )


def _told(amounts: Mapping[str, float]) -> str:
    cpus, gpus = amounts.get("CPU", 0.0), amounts.get("GPU", 0.0)
    return f"{cpus:g} CPUs, {gpus:g} GPUs, {amounts.get('memory', 0.0) / 2**30:.3g} GiB for workers"
