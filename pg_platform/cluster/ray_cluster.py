"""The Ray cluster that trials run on: a private one on this machine, or a running one."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from pg_platform.config.errors import InfrastructureError
from pg_platform.driver.control import INTERRUPTS, Interrupted
from pg_platform.driver.watchdog import GOES_ON, INFRASTRUCTURE

NAMESPACE = "pg_platform"


DRIVER_RESOURCE = "pg_driver"
"""What the driver of a several-worker trial asks for instead of a CPU.

A driver that holds a CPU starves its own workers on a small machine.
"""


_DRIVERS_AT_MOST = 1000


_OBJECT_STORE_BYTES = 256 * 2**20  # trials exchange rows of metrics, never tensors


_CONNECT_SECONDS = 10.0


_JOIN_SECONDS = 18.0


_DRAIN_SECONDS = 2.0


_END_SECONDS = 30.0


_STOP_SECONDS = 8.0


_PROBE_SECONDS = 2.0


_GCS_SECONDS = 15.0


_PRIVATE_GCS_SECONDS = 2.0


_FOR_THE_DRIVER = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class ClusterError(InfrastructureError):
    """Ray cannot be started or reached, or cannot hold what a trial asks for."""


class Health:
    """Whether the Ray that this process talks to is there; asked without Ray, from any thread."""

    def __init__(self, address: str | None) -> None:
        """`address` is that of a cluster which was there before: it may be away for a moment."""
        context = ray.get_runtime_context()
        host, _, port = str(context.gcs_address).rpartition(":")
        here = context.get_node_id()
        (raylet,) = (n["RayletSocketName"] for n in ray.nodes() if n["NodeID"] == here)
        self.raylet = _Line(socket.AF_UNIX, raylet)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.head = _Line(family, (host.strip("[]"), int(port)))
        self.told = f"{host}:{port}"
        self.patience = _PRIVATE_GCS_SECONDS if address is None else _GCS_SECONDS
        self.heard = time.monotonic()

    def gone(self) -> str | None:
        """What has died, as a sentence; None while all is there."""
        if not self.raylet.stands():
            return f"Ray has died on this machine (its raylet is gone); {GOES_ON}"
        if self.head.stands():
            self.heard = time.monotonic()
        elif time.monotonic() - self.heard > self.patience:
            return f"Ray's head at {self.told} has died or is out of reach; {GOES_ON}"
        return None


class _Line:
    """A connection that stays open and idle: its other end closes it where the process dies."""

    def __init__(self, family: socket.AddressFamily, place: Any) -> None:
        self.family, self.place = family, place
        self.open: socket.socket | None = None
        self.lock = threading.Lock()

    def stands(self) -> bool:
        """Whether a process listens there, be it too busy to answer."""
        with self.lock:
            return (self.open is not None and not _closed(self.open)) or self._connects()

    def _connects(self) -> bool:
        if self.open is not None:
            self.open.close()
        self.open = socket.socket(self.family, socket.SOCK_STREAM)
        self.open.settimeout(_PROBE_SECONDS)
        try:
            self.open.connect(self.place)
        except OSError as error:
            self.open.close()
            self.open = None
            return self.family == socket.AF_UNIX and isinstance(error, TimeoutError)
        return True


def _closed(connection: socket.socket) -> bool:
    """Whether the other end is gone; what it may have sent is of no interest."""
    connection.settimeout(0.0)
    try:
        return not connection.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextmanager
def ray_cluster() -> Iterator[Health]:
    """Connect to the cluster at RAY_ADDRESS, else to a private one that ends with this process.

    `environment.prepare` was called before this file was imported. Gives what tells whether the
    cluster lives. Raises ClusterError where it cannot be had.
    """
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address is not None:
            _connect(address)
        else:
            _start_private()
        INTERRUPTS.install()
        health = Health(address)
    except (RayError, ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise ClusterError(f"Ray cannot be reached: {error}; {GOES_ON}") from error
    except SystemExit as error:  # Ray's own handler of SIGTERM, while it started
        raise Interrupted from error
    with ExitStack() as at_exit:
        at_exit.callback(_shut_down)
        yield health


def _connect(address: str) -> None:
    """Join a running cluster. Ray itself waits for ever for a host that does not answer."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError as error:
            raise ClusterError(
                f"no Ray cluster answers at {address} ({error}); see that it runs there, or give "
                "another --address"
            ) from error
    late = f"the Ray cluster at {address} did not let this command in; see that it runs there"
    with INTERRUPTS.watchdog.within(_JOIN_SECONDS, late):
        ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level="error")


def _shut_down() -> None:
    asked = INTERRUPTS.asked
    seconds, code = (_STOP_SECONDS, INTERRUPTS.code) if asked else (_END_SECONDS, INFRASTRUCTURE)
    with INTERRUPTS.watchdog.within(seconds, f"Ray did not end; {GOES_ON}", code):
        ray.shutdown()


def _start_private() -> None:
    """Ray's processes inherit a mask: signals to the whole group or job are this process's alone.

    SLURM, systemd and a terminal that closes send them to every process; Ray's would die before
    any trial could leave a checkpoint. They end with this process, whatever ends it.
    """
    with ExitStack() as at_exit:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_DRIVER)
        at_exit.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
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
    for started in ray._private.worker._global_node.all_processes.values():
        for each in started:  # ray.shutdown waits a second for each that SIGTERM does not end
            each.process.terminate = each.process.kill


class Drains:
    """Nodes that are about to be taken away, as a spot machine is; of a private cluster none."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.looked = time.monotonic()

    def new(self) -> set[str]:
        """The ids of nodes whose drain has begun since the call before; looks now and then."""
        if "RAY_ADDRESS" not in os.environ or time.monotonic() - self.looked < _DRAIN_SECONDS:
            return set()
        self.looked = time.monotonic()
        draining = set(ray._private.state.state.get_draining_nodes())
        new, self.known = draining - self.known, draining
        return new


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


def on_cluster(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, gpu: bool
) -> Iterator[Any]:
    """The results of `function` for each of `calls`, in their order, as soon as they are there.

    Each call has a CPU, and a GPU of its own where `gpu`, on any node; files have to lie where all
    nodes see them. One whose node dies is made again. Raises what a call raised, and ClusterError
    where the cluster cannot be had. `environment.prepare` was called before this file was imported.
    """
    with ray_cluster():
        check_capacity({"CPU": 1.0, "GPU": float(gpu)})
        remote = ray.remote(_pickled).options(num_cpus=1, num_gpus=int(gpu))
        for pending in [remote.remote(function, call) for call in calls]:
            try:
                yield pickle.loads(ray.get(pending))
            except RayTaskError as error:
                raise error.cause from None


def _pickled(function: Callable[..., Any], call: tuple[Any, ...]) -> bytes:
    """The result as bytes: arrays that Ray hands over itself cannot be written to."""
    return pickle.dumps(function(*call))
