"""Exact nearest neighbours in chunks, against all similarities at once and one topk.

    python -m benchmarks.neighbours [--quick]

Vectors of 512 numbers, k = 20. Compared where all similarities fit into memory; the long form then
searches a bank of ImageNet's size (1,281,167) alone, and tells time and the process's peak memory.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.interleaved import medians, verdict
from evals.knn import Options, nearest

WIDTH, BANK, QUERIES, IMAGENET, REPEATS = 512, 100_000, 1024, 1_281_167, 5
OPTIONS = Options()


def main() -> None:
    """Print the ratio of the times, the plain search over ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the bank of ImageNet's size")
    quick = parser.parse_args().quick
    bank, queries = _vectors(BANK, 0), _vectors(QUERIES, 1)
    assert _same(_ours(queries, bank), _at_once(queries, bank))
    contenders = {"plain": lambda: _at_once(queries, bank), "ours": lambda: _ours(queries, bank)}
    seconds = medians(contenders, REPEATS)
    print(
        f"{QUERIES} queries, {BANK:,} images: {seconds['plain']:.2f} s, ours {seconds['ours']:.2f}"
    )
    if not quick:
        bank = _vectors(IMAGENET, 0)
        started = time.perf_counter()
        _ours(queries, bank)
        taken = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        print(f"{IMAGENET:,} images: {QUERIES / taken:.0f} queries/s, peak {peak:.1f} GiB")
    print(verdict("neighbours", seconds["plain"] / seconds["ours"], ">= 1"))


def _vectors(count: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)))


def _ours(queries: Tensor, bank: Tensor) -> Tensor:
    """Positions of the neighbours, (queries, k)."""
    parts = queries.split(OPTIONS.query_chunk)
    return torch.cat([nearest(part, bank, OPTIONS)[1] for part in parts])


def _at_once(queries: Tensor, bank: Tensor) -> Tensor:
    return (queries @ bank.T).topk(OPTIONS.k, dim=1).indices


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.sort(dim=1).values, other.sort(dim=1).values)


if __name__ == "__main__":
    main()
