"""Which code the results of a table come from, and what is said where that is not one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pg_platform.store.stored_run import StoredRun

UNKNOWN = "unknown"
"""The code of runs from before it was kept with them."""
Codes = Mapping[str, Mapping[int, str]]
"""The code of each result, by point and seed."""
_MOST_NAMED = 6


def code_of(run: StoredRun) -> str:
    """The code that made a run; where it went on under other code, all of them, joined by `+`."""
    return run.tags.get("pg.code", UNKNOWN)


def joined(codes: Iterable[str]) -> str:
    """The code of a run that several have made, each named once."""
    return "+".join(dict.fromkeys(part for code in codes for part in code.split("+")))


def mixture(codes: Codes) -> str | None:
    """A sentence where the results are not all of one code, which names the runs; else None."""
    runs: dict[str, list[str]] = {}
    for group, by_seed in codes.items():
        for seed, code in by_seed.items():
            runs.setdefault(code, []).append(trial_name(group, seed))
    if not is_mixed(codes):
        return None
    told = "; ".join(f"{spelled(code)}: {_named(names)}" for code, names in runs.items())
    return (
        f"This table mixes results of different code, which may differ for that reason alone. "
        f"{told}. pg-sweep with --rerun makes them equal."
    )


def is_mixed(codes: Codes) -> bool:
    """Whether more than one code made the results; runs of unknown code count as of one."""
    made = {code for by_seed in codes.values() for code in by_seed.values()}
    return len(made) > 1 or any("+" in code for code in made)


def before_adding(stale: Mapping[str, str], today: str) -> str:
    """What is said before runs of today's code come beside `stale` ones, code by trial name."""
    runs: dict[str, list[str]] = {}
    for name, code in stale.items():
        runs.setdefault(code, []).append(name)
    told = "; ".join(f"{spelled(code)}: {_named(names)}" for code, names in runs.items())
    return (
        f"warning: what runs now has code {today}, and would stand in one table with results of "
        f"other code. {told}. --rerun sets those aside and runs them again."
    )


def spelled(code: str) -> str:
    """A code as a sentence has it."""
    parts = ["code not recorded" if part == UNKNOWN else f"code {part}" for part in code.split("+")]
    return " and then ".join(parts)


def of_seeds(by_seed: Mapping[int, str]) -> str:
    """The code of a point's results: one for all, or each with its seeds."""
    seeds: dict[str, list[str]] = {}
    for seed, code in by_seed.items():
        seeds.setdefault(code, []).append(str(seed))
    if len(seeds) < 2:
        return "".join(seeds)
    return ", ".join(f"{code} (seed {' '.join(which)})" for code, which in seeds.items())


def trial_name(group: str, seed: int) -> str:
    """How a trial of the plan is called; `base` is the point of a sweep that varies nothing."""
    return f"seed={seed}" if group == "base" else f"{group} seed={seed}"


def _named(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
