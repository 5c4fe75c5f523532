"""A file over its recipe, and `--set key=value` over both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pg_platform.config.custom import with_folders
from pg_platform.config.errors import Place, Problem, one_of
from pg_platform.config.experiment import Experiment
from pg_platform.config.paths import RECIPES, absolute, path_keys, recipe_names, with_absolute_paths
from pg_platform.config.section import ConfigError, Document, Section
from pg_platform.config.yaml_tree import (
    Branch,
    Leaf,
    Node,
    at,
    branch_at,
    compose,
    dotted,
    has_comment,
    read,
    shown,
)

SCALES = "scales"


PARAMETERS = "parameters"


DOTTED = (PARAMETERS, "when", "baseline")
"""The keys of a sweep file whose own keys are dotted."""


OF_A_PARAMETER = ("values", "min", "max", "distribution", "q")


@dataclass(frozen=True)
class Override:
    """One `--set key=value`."""

    keys: tuple[str, ...]
    value: Node

    @classmethod
    def read(cls, text: str, problems: list[Problem]) -> Override | None:
        """None where `text` is not KEY=VALUE; ConfigError where the value is not YAML."""
        place = Place(f"--set {text}")
        key, equals, value = text.partition("=")
        keys = _keys(key.strip())
        if not equals or not all(keys):
            message = "wants KEY=VALUE, such as speaker.vocab_size=64"
            problems.append(Problem(place, "", message))
            return None
        node = compose(value, place, problems, keys)
        if has_comment(value):
            message = (
                "'#' begins a comment, and what follows would be lost; write "
                f'{key.strip()}="..." with the value in quotes, or no comment'
            )
            problems.append(Problem(place, dotted(keys), message))
            return None
        if node is None:
            message = "wants a value after '='; write null for none"
            problems.append(Problem(place, "", message))
            return None
        return cls(keys, node)

    def over(self, root: Branch, problems: list[Problem]) -> Branch:
        """A copy of `root` with the value in its place: a section is replaced whole."""
        if (problem := blocked(root, self.keys, self.value.place)) is not None:
            problems.append(problem)
            return root
        return graft(root, self.keys, self.value)


def layered(
    path: Path,
    overrides: Sequence[str],
    problems: list[Problem],
    *under: str,
    scale: str | None = None,
) -> Branch:
    """The mapping in `path` over the recipe that it names, with the overrides on top.

    A `scale` is a key of its `scales`, whose dotted keys come before the overrides.

    `under` are the keys below which the file has what a recipe has. The key `recipe` stays as
    the file has it. Raises ConfigError where there is no tree; other problems are appended.
    """
    file = read(path, problems)
    sets = [s for text in overrides if (s := Override.read(text, problems)) is not None]
    if scale is not None:
        sets = [*_scaled(file, scale, problems), *sets]
    recipe = _recipe(_over(file, sets, []), problems)
    for key in reversed(under):
        recipe = Branch(recipe.place, {key: recipe.place}, {key: recipe})
    return with_folders(_over(merge(recipe, file), sets, problems), path.parent, problems)


def overridden(root: Branch, overrides: Sequence[str], problems: list[Problem]) -> Branch:
    """A copy of `root` with each `key=value` in its place; what is wrong is appended."""
    sets = [s for text in overrides if (s := Override.read(text, problems)) is not None]
    return _over(root, sets, problems)


def merge(low: Branch, high: Branch) -> Branch:
    """`high` with what only `low` has; sections are merged too, unless their kinds differ."""
    merged = high
    for key, node in low.values.items():
        if key not in high.values:
            merged = merged.put(key, low.keys[key], node)
            continue
        match node, high.values[key]:
            case Branch() as below, Branch() as above if not _other_kind(below, above):
                merged = merged.put(key, high.keys[key], merge(below, above))
    return merged


def graft(root: Branch, keys: Sequence[str], value: Node) -> Branch:
    """A copy of `root` with `value` at `keys`, making the sections on the way that it lacks."""
    first, *rest = keys
    if not rest:
        return root.put(first, value.place, value)
    inner = branch_at(root, (first,)) or Branch(value.place, {}, {})
    place = root.keys.get(first, value.place)
    return root.put(first, place, graft(inner, rest, value))


def blocked(root: Branch, keys: Sequence[str], place: Place) -> Problem | None:
    """Why nothing can be set at `keys`: a part of the way there holds a value and no keys."""
    for depth in range(1, len(keys)):
        match at(root, tuple(keys[:depth])):
            case None | Branch():
                continue
            case node:
                way = dotted(tuple(keys[:depth]))
                message = f"{way} is {shown(node)}, which has no keys; set {way} whole"
                return Problem(place, dotted(tuple(keys)), message)
    return None


def _keys(key: str) -> tuple[str, ...]:
    """The dotted key in parts; what follows one of DOTTED is one key and perhaps one inside it."""
    first, *rest = key.split(".")
    if first not in DOTTED or not rest:
        return (first, *rest)
    if first == PARAMETERS and rest[-1] in OF_A_PARAMETER and len(rest) > 1:
        return (first, ".".join(rest[:-1]), rest[-1])
    return (first, ".".join(rest))


def _over(root: Branch, sets: Sequence[Override], problems: list[Problem]) -> Branch:
    for override in sets:
        root = override.over(root, problems)
    return root


def _scaled(file: Branch, scale: str, problems: list[Problem]) -> list[Override]:
    """The changes that the file has under a name in `scales`."""
    scales = branch_at(file, (SCALES,)) or Branch(file.place, {}, {})
    changes = branch_at(scales, (scale,))
    if changes is None:
        known = one_of(scale, list(scales.values)) if scales.values else "it has none"
        problems.append(Problem(Place(f"--scale {scale}"), SCALES, f"{known}, got {scale!r}"))
        return []
    return [Override(_keys(key), node) for key, node in changes.values.items()]


def _recipe(root: Branch, problems: list[Problem]) -> Branch:
    """The recipe that `root` names, or `default`; an empty one where there is none of that name."""
    names = recipe_names()
    match root.values.get("recipe"):
        case None:
            return read(RECIPES / "default.yaml", problems)
        case Leaf(value=str(name)) if name in names:
            return read(RECIPES / f"{name}.yaml", problems)
        case node:
            word = node.text if isinstance(node, Leaf) else ""
            message = f"{one_of(word, names)}, got {shown(node)}"
            problems.append(Problem(node.place, "recipe", message))
            return Branch(root.place, {}, {})


def _other_kind(low: Branch, high: Branch) -> bool:
    match low.values.get("kind"), high.values.get("kind"):
        case Leaf(value=below), Leaf(value=above):
            return below != above
    return False


S = TypeVar("S", bound=Section)


def load_options(section: type[S], overrides: Sequence[str]) -> S:
    """A `section` of defaults with `overrides` on top; ConfigError with all that is wrong."""
    problems: list[Problem] = []
    root = overridden(Branch(Place("--set"), {}, {}), overrides, problems)
    root = with_absolute_paths(root, section, problems)
    return Document(root, problems).parse(section)


def load_moved(given: Sequence[str]) -> dict[str, str]:
    """Where images lie now, from `--data KEY=PATH`: absolute paths by the keys of the section data.

    The paths are taken as they are, not as YAML. ConfigError where one names no such key.
    """
    moved: dict[str, str] = {}
    known = [key.removeprefix("data.") for key in path_keys(Experiment)]
    for text in given:
        key, _, path = text.partition("=")
        if key not in known or not path:
            raise ConfigError([f"--data {text}: wants KEY=PATH, where KEY is {' or '.join(known)}"])
        moved[key] = absolute(path)
    return moved


Difference = tuple[str, str, str]
"""A dotted key and its two values, in JSON."""


ABSENT = "-"
"""The value where a recipe has no such key."""


def load_recipe(name: str) -> Experiment:
    """The experiment that a recipe is; ConfigError where there is none of that name."""
    if name not in (names := recipe_names()):
        raise ConfigError([f"recipe: {one_of(name, names)}, got {name!r}"])
    return Document.read(RECIPES / f"{name}.yaml").parse(Experiment)


def differences(one: Experiment, other: Experiment) -> list[Difference]:
    """The keys whose values differ, in the order in which an experiment has its keys."""
    ours, theirs = _flat(one.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
    pairs = [(key, ours.get(key, ABSENT), theirs.get(key, ABSENT)) for key in {**ours, **theirs}]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        match value:
            case dict():
                leaves |= _flat(value, f"{prefix}{key}.")
            case _:
                leaves[prefix + key] = json.dumps(value)
    return leaves
