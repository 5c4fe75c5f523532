"""Calls of one function, side by side on a Ray cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayTaskError

from pg_platform.cluster.ray_cluster import check_capacity, ray_cluster


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
