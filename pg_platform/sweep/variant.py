"""What tells a sweep that `--set` or `--scale` changed from the one that its file has.

The experiment that all points share is part of what a sweep asks: with other values there it is
another sweep. More values of its parameters, more seeds, another budget or place are not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pg_platform.config.errors import ConfigError
from pg_platform.config.experiment import FOLDERS, Experiment
from pg_platform.config.overrides import SCALES, layered
from pg_platform.config.validation import findings
from pg_platform.config.yaml_tree import Branch, Leaf, at, branch_at, plain
from pg_platform.sweep.trials import SHORT, compact

FIXED = ("experiment", "recipe", "resources")
"""The keys of a sweep file below which a value may decide all results."""
LONGEST = 80
"""Characters of a variant, so that a file can be called by it."""
_PLACES = ("data.path", "data.val_path", "data.loader_processes", *FOLDERS)
"""Where data lie and how they are read: that decides no result."""
_BRACKETS = re.compile(r"[][{}]")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.,=+ -]+")

Base = Callable[[Branch], Branch]
"""The experiment that all points share, out of a sweep file."""
Leaves = dict[str, Any]
"""Values by dotted key."""


def variant(  # noqa: PLR0913 - how the file was asked for, and what came of it
    path: Path,
    overrides: Sequence[str],
    scale: str | None,
    root: Branch,
    base: Base,
    varied: Collection[str],
) -> str:
    """`epochs=6, lr=0.001`: what `overrides` and `scale` made of the experiment in `path`.

    `root` is the file with both worked in, and `varied` are the keys that its points vary. Empty
    where nothing differs, and where the sweep was given a name of its own. It can stand in a path.
    """
    keys = [text.partition("=")[0].strip() for text in overrides]
    if "name" in keys:
        return ""
    first = [key.partition(".")[0] for key in keys]
    rest = [text for text, key in zip(overrides, first, strict=True) if key not in FIXED]
    recipes = [text for text, key in zip(overrides, first, strict=True) if key == "recipe"]
    rules = branch_at(root, ("when",))
    varied = set(varied) - set(rules.keys if rules else ())
    parts: list[str] = []
    if scale is not None and not _renames(path, scale):
        differs = _differences(_layered(path, rest), _layered(path, rest, scale), base, varied)
        parts += [scale for _ in differs][:1]
    if len(rest) < len(overrides):
        written, below = (_layered(path, texts, scale) for texts in (rest, [*rest, *recipes]))
        if _recipe(written) != _recipe(root):
            parts.append(f"recipe={_recipe(root)}")
        parts += _differences(below, root, base, varied)
    return _shortened(parts)


def _renames(path: Path, scale: str) -> bool:
    """Whether the file gives its form `scale` a name of its own."""
    file = _layered(path, [])
    form = None if file is None else branch_at(file, (SCALES, scale))
    return form is not None and "name" in form.keys


def _layered(path: Path, overrides: Sequence[str], scale: str | None = None) -> Branch | None:
    """The file with less than was asked for; None where it is no tree without the rest."""
    try:
        return layered(path, overrides, [], "experiment", scale=scale)
    except ConfigError:
        return None


def _recipe(root: Branch | None) -> str:
    node = None if root is None else at(root, ("recipe",))
    return str(node.value) if isinstance(node, Leaf) else "default"


def _differences(
    before: Branch | None, after: Branch | None, base: Base, varied: Collection[str]
) -> Iterator[str]:
    """`key=value` of each leaf of the shared experiment that is another one after."""
    if before is None or after is None:
        return
    below, above = _leaves(base(before), base(after))
    labels = _labels({**below, **above})
    for key, value in above.items():
        same = key in below and below[key] == value
        if not same and not any(f"{key}.".startswith(f"{each}.") for each in varied):
            yield f"{labels[key]}={compact(value)}"


def _leaves(*bases: Branch) -> list[Leaves]:
    """What decides results in each of two experiments; as written where one is none by itself."""
    if any(findings(Experiment, base) for base in bases):
        trees = [_flat(plain(base.without("resources", "checkpoints"))) for base in bases]
        return [{key: tree[key] for key in tree if key not in _PLACES} for tree in trees]
    return [_flat(Experiment.model_validate(plain(base)).deciding()) for base in bases]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Leaves:
    leaves: Leaves = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        plain_value = tuple(value) if isinstance(value, list) else value
        leaves |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: plain_value}
    return leaves


def _labels(keys: Collection[str]) -> dict[str, str]:
    """Each key with the paper's letter, else as many last parts as no other key ends in."""
    labels = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        own = (e for e in endings if sum(f".{other}".endswith(f".{e}") for other in keys) == 1)
        labels[key] = SHORT.get(key) or next(own, key)
    return labels


def _shortened(parts: Sequence[str]) -> str:
    """The parts in one text of safe characters; what was lost stands there as a hash."""
    bare = [_BRACKETS.sub("", part) for part in parts]
    safe = [_UNSAFE.sub("-", part) for part in bare]
    text, mark = ", ".join(safe), hashlib.sha256(", ".join(parts).encode()).hexdigest()[:6]
    if len(text) <= LONGEST:
        return text if safe == bare else f"{text} {mark}"
    kept: list[str] = []
    room = LONGEST - len(f", {len(parts)} more {mark}")
    while safe and len(", ".join([*kept, safe[0]])) <= room:
        kept.append(safe.pop(0))
    return ", ".join([*kept, f"{len(safe)} more {mark}"])
