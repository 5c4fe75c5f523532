"""Sec. 3: is it one language? The speaker of each run with the listener of every other.

All runs of a sweep see the same images, those of the first run's validation with its views and
pools. A pair can play where the data, the size of a patch and the symbols of a patch are the same;
the vocabulary may differ once symbols are relabelled. The relabelling of a speaker for a listener
is the one-to-one map under which the speaker agrees most often, patch by patch, with the speaker
that the listener grew up with (Hungarian method); symbols beyond the smaller vocabulary go to the
one they meet most often. It is counted on the even images for the odd ones and the other way
round, so that no message helps to relabel itself. Agreement of the two maps from patches to symbols
is also given as adjusted mutual information, which needs no relabelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from statistics import fmean
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor

from pg_platform.config.section import Section
from pg_platform.evaluation.games import credits, pooled_batches, say, understood
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.language.ablations import Messages
from pg_platform.plots.charts import heat_map
from pg_platform.progress import tracked
from pg_platform.store.table import Table


class Options(Section):
    """At most so many `pools` of the validation split are played."""

    pools: PositiveInt = 8


@dataclass(frozen=True)
class Pair:
    """Success of one run's speaker with another's listener; None where they cannot play."""

    raw: float | None
    relabelled: float | None
    ami: float | None


def evaluate_together(several: Sequence[tuple[str, Trained]], options: Options) -> EvaluationResult:
    """Matrices of success, raw and relabelled, and of agreement between maps.

    Raises ValueError for fewer than two runs, and where no two of them can play.
    """
    fitting, words = _fitting(several)
    if len(fitting) < 2:
        raise ValueError(
            f"cross-play wants two runs or more on the same data, got {len(fitting)}; give the "
            "name of a sweep"
        )
    spoken, seen = _play(fitting, options)
    pool = next(iter(fitting.values())).experiment.validation.pool_size

    def success(name: str, messages: Messages) -> float:
        return credits(understood(fitting[name].game, messages), seen[name], pool).mean().item()

    own = {name: success(name, spoken[name]) for name in fitting}
    pairs: dict[tuple[str, str], Pair] = {}
    for one, other in tracked(list(permutations(fitting, 2)), "pairs"):
        if alike(fitting[one], fitting[other]):
            hear = partial(success, other)
            sizes = (_vocabulary(fitting[one]), _vocabulary(fitting[other]))
            pairs[one, other] = _pair(sizes, spoken[one], spoken[other], hear)
        else:
            pairs[one, other] = Pair(None, None, None)
            words.append(f"{one} cannot talk to {other}: patches or symbols per patch differ.")
    metrics = _means(own, pairs, pool)
    if metrics.keys() == {f"crossplay/top1_pool{pool}_own"}:
        raise ValueError("no two of these runs can play together: their patches differ")
    return EvaluationResult(
        metrics,
        tables={"pairs": _table(own, pairs)},
        figures={
            kind: heat_map(
                _matrix(own, pairs, kind), list(own), title=f"top-1 among {pool}, {kind}"
            )
            for kind in ("raw", "relabelled")
        },
        words="\n".join([*_words(metrics, pool), *words]),
    )


def alike(speaker: Trained, listener: Trained) -> bool:
    """Whether messages of one have the shape that the other reads, whatever the vocabulary."""
    one, other = speaker.experiment.speaker, listener.experiment.speaker
    return (one.patch_size, one.symbols_per_patch) == (other.patch_size, other.symbols_per_patch)


def _vocabulary(run: Trained) -> int:
    return run.experiment.speaker.vocab_size


def relabelling(from_ids: Tensor, to_ids: Tensor, sizes: tuple[int, int]) -> Tensor:
    """The new number of each symbol, (from vocabulary,), from two namings of the same patches."""
    pairs = from_ids.flatten() * sizes[1] + to_ids.flatten()
    met = torch.bincount(pairs, minlength=sizes[0] * sizes[1]).view(sizes).cpu().numpy()
    new = met.argmax(axis=1)
    old, matched = linear_sum_assignment(met, maximize=True)
    new[old] = matched
    return torch.from_numpy(new.astype(np.int64)).to(from_ids.device)


def relabelled(spoken: Messages, native: Messages, sizes: tuple[int, int]) -> Messages:
    """Messages in the words of `native` about the same images: cross-fitted on halves of them."""
    ids = torch.empty_like(spoken.ids)
    for half in (slice(0, None, 2), slice(1, None, 2)):
        rest = slice(1 - half.start, None, 2)
        ids[half] = relabelling(spoken.ids[rest], native.ids[rest], sizes)[spoken.ids[half]]
    return Messages(ids, spoken.gate)


def _fitting(several: Sequence[tuple[str, Trained]]) -> tuple[dict[str, Trained], list[str]]:
    """The runs on the first one's data by their names, and a sentence for each left out."""
    if len({name for name, _ in several}) < len(several):
        several = [(f"{name} #{i}", run) for i, (name, run) in enumerate(several, start=1)]
    data = [run.experiment.data for _, run in several]
    fitting = {name: run for name, run in several if run.experiment.data == data[0]}
    words = [f"{name} is left out: its data differ." for name, _ in several if name not in fitting]
    return fitting, words


@torch.no_grad()
def _play(
    runs: Mapping[str, Trained], options: Options
) -> tuple[dict[str, Messages], dict[str, Tensor]]:
    """What each run says about the first one's validation views, and makes of the images."""
    first = next(iter(runs.values()))
    ids: dict[str, list[Tensor]] = {name: [] for name in runs}
    gates: dict[str, list[Tensor]] = {name: [] for name in runs}
    seen: dict[str, list[Tensor]] = {name: [] for name in runs}
    for batch in pooled_batches(first, options.pools):
        for name, run in runs.items():
            message = say(run.game, batch.speaker, None)
            ids[name].append(message.ids())
            gates[name].append(message.gate)
            seen[name].append(run.game.seen(batch.listener))
    spoken = {name: Messages(torch.cat(ids[name]), torch.cat(gates[name])) for name in runs}
    return spoken, {name: torch.cat(parts) for name, parts in seen.items()}


def _pair(
    sizes: tuple[int, int], spoken: Messages, native: Messages, hear: Callable[[Messages], float]
) -> Pair:
    return Pair(
        raw=hear(spoken) if sizes[0] == sizes[1] else None,
        relabelled=hear(relabelled(spoken, native, sizes)),
        ami=float(
            adjusted_mutual_info_score(
                spoken.ids.flatten().cpu().numpy(), native.ids.flatten().cpu().numpy()
            )
        ),
    )


def _means(
    own: Mapping[str, float], pairs: Mapping[tuple[str, str], Pair], pool: int
) -> dict[str, float]:
    """Means over the runs, and over the pairs that can play."""
    found = {
        f"top1_pool{pool}_own": list(own.values()),
        f"top1_pool{pool}_raw": [p.raw for p in pairs.values() if p.raw is not None],
        f"top1_pool{pool}_relabelled": [
            p.relabelled for p in pairs.values() if p.relabelled is not None
        ],
        "ami": [p.ami for p in pairs.values() if p.ami is not None],
    }
    return {f"crossplay/{name}": fmean(values) for name, values in found.items() if values}


def _matrix(
    own: Mapping[str, float], pairs: Mapping[tuple[str, str], Pair], kind: str
) -> list[list[float | None]]:
    """Rows speak, columns listen; the diagonal is each run with itself."""
    chosen: dict[tuple[str, str], float | None] = {
        names: pair.raw if kind == "raw" else pair.relabelled for names, pair in pairs.items()
    }
    return [[own[s] if s == t else chosen[s, t] for t in own] for s in own]


def _table(own: Mapping[str, float], pairs: Mapping[tuple[str, str], Pair]) -> Table:
    rows: list[tuple[Any, ...]] = [(name, name, value, value, 1.0) for name, value in own.items()]
    rows += [(*names, pair.raw, pair.relabelled, pair.ami) for names, pair in pairs.items()]
    return Table(("speaker", "listener", "raw", "relabelled", "ami"), tuple(rows))


def _words(metrics: Mapping[str, float], pool: int) -> Iterator[str]:
    own = metrics[f"crossplay/top1_pool{pool}_own"]
    yield f"With their own listeners the speakers succeed at {own:.3f}; chance is {1 / pool:.4f}."
    for kind in ("raw", "relabelled"):
        if (name := f"crossplay/top1_pool{pool}_{kind}") in metrics:
            yield f"With the listeners of others: {metrics[name]:.3f}, {kind}."
    if "crossplay/ami" in metrics:
        yield f"Their maps from patches to symbols share {metrics['crossplay/ami']:.3f} (AMI)."
