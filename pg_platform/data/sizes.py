"""How many images each split has, and whether an experiment can work with so many. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import assert_never

from pg_platform.config.experiment import (
    Cifar10,
    CustomData,
    Data,
    Digits,
    Experiment,
    ImageFolder,
    Packed,
    Parquet,
    Shapes,
    Stl10,
)
from pg_platform.data.listing import Split, belongs, folder_images, parquet_roles, row_name
from pg_platform.data.loader_processes import check_shared_memory, shared_bytes
from pg_platform.data.packs import read_pack

DIGITS, CIFAR10, STL10 = 1797, 50_000, 105_000

EVALUATION_BATCH = 256
"""Images in a batch that nothing is learnt from; the validation views depend on it."""

_VIEWS = 2


def check_sizes(experiments: Iterable[Experiment]) -> None:
    """Refuse, before anything starts, an experiment that its images cannot fill.

    Raises ValueError where a split is smaller than a batch or a pool of candidates, or where the
    files are not there.
    """
    known: dict[Data, dict[Split, int]] = {}
    for experiment in experiments:
        if experiment.data not in known:
            known[experiment.data] = split_sizes(experiment.data)
        steps_in(known[experiment.data]["train"], experiment)
        check_pool(known[experiment.data]["val"], experiment)


def check_room(experiment: Experiment, workers: int = 1) -> None:
    """Refuse processes that decode more than the shared memory of this machine can hold.

    `workers` of the experiment's are on it. Raises ValueError.
    """
    if not isinstance(experiment.data, ImageFolder | Parquet | Packed):
        return
    images = max(experiment.batch_size // experiment.resources.workers, EVALUATION_BATCH)
    data = experiment.data
    wanted = shared_bytes(images, _VIEWS, data.image_size, data.loader_processes)
    check_shared_memory(wanted * workers)


def steps_in(images: int, experiment: Experiment) -> int:
    """How many whole global batches an epoch of `images` has; ValueError where it has none."""
    if images < experiment.batch_size:
        workers = experiment.resources.workers
        raise ValueError(
            f"batch_size is {experiment.batch_size} and the training split has {images} images; "
            f"try a batch_size of {max(2, images // workers * workers)}, or more images"
        )
    return images // experiment.batch_size


def check_pool(images: int, experiment: Experiment) -> None:
    """ValueError where a validation split of `images` holds no pool of candidates."""
    pool = experiment.validation.pool_size
    if images < pool:
        raise ValueError(
            f"validation.pool_size is {pool} and the validation split has {images} images; try a "
            f"pool_size of {images}, or a larger data.val_fraction"
        )


def split_sizes(data: Data) -> dict[Split, int]:
    """Images of each split, broken ones included. Raises ValueError where there are no files."""
    match data:
        case Digits():
            return _by_hash(_numbers(DIGITS), data.val_fraction)
        case Shapes():
            return _by_hash(_numbers(data.count), data.val_fraction)
        case Cifar10():
            return _by_hash(_numbers(CIFAR10), data.val_fraction)
        case Stl10():
            return _by_hash(_numbers(STL10), data.val_fraction)
        case ImageFolder():
            return _folder(data)
        case Parquet():
            return _parquet(data)
        case Packed():
            return _packed(data)
        case CustomData():
            from pg_platform.data.images import open_images

            return {"train": len(open_images(data, "train")), "val": len(open_images(data, "val"))}
        case _:
            assert_never(data)


def _folder(data: ImageFolder) -> dict[Split, int]:
    roots = folder_images(data)
    if "val" in roots:
        return {"train": len(roots["train"]), "val": len(roots["val"])}
    (names,) = roots.values()
    return _by_hash(names, data.val_fraction)


def _parquet(data: Parquet) -> dict[Split, int]:
    import pyarrow.parquet as pq

    roles = parquet_roles(data)
    counts = {
        role: sum(pq.ParquetFile(file).metadata.num_rows for file in files)
        for role, files in roles.items()
    }
    if "val" in counts:
        return {"train": counts["train"], "val": counts["val"]}
    names = (name for file in roles["train"] for name in _row_names(file))
    return _by_hash(names, data.val_fraction)


def _packed(data: Packed) -> dict[Split, int]:
    shards = read_pack(data).shards
    return {
        "train": sum(len(shard.rows("train", data.val_fraction)) for shard in shards),
        "val": sum(len(shard.rows("val", data.val_fraction)) for shard in shards),
    }


def _row_names(file: Path) -> Iterator[str]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    if "path" in table.schema_arrow.names:
        paths = table.read(columns=["path"])["path"].to_pylist()
    else:
        paths = [None] * table.metadata.num_rows
    return (row_name(file, row, path) for row, path in enumerate(paths))


def _numbers(count: int) -> Iterator[str]:
    return map(str, range(count))


def _by_hash(names: Iterable[str], val_fraction: float) -> dict[Split, int]:
    val = [belongs(name, "val", val_fraction) for name in names]
    return {"train": len(val) - sum(val), "val": sum(val)}
