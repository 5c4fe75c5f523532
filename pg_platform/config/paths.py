"""One rule for paths: a relative one is meant from the folder where the command runs.

It is made absolute once, when a file or `--set` is read, because whoever reads the path afterwards
(a worker of Ray, an evaluation next week) runs in another folder. `~` is the home folder, as in a
shell. An address of an object store (s3://, gs://, hdfs://, file://) stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, get_args

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from pg_platform.config.errors import RECIPES as RECIPES
from pg_platform.config.errors import ConfigError, Problem
from pg_platform.config.validation import members
from pg_platform.config.yaml_tree import Branch, Items, Leaf, Node


class IsPath:
    """Marks the text of a section's key as a path, unless it is one of `words`."""

    def __init__(self, *words: str) -> None:
        self.words = words


Location = Annotated[str, Field(min_length=1), IsPath()]
"""The type of every key that holds a path, in an experiment and in an evaluation's options."""


_HOLD_KEYS = ("experiment", "include", "ladder", "baseline")
"""Where a sweep file has keys of an experiment with their values."""


def is_address(path: str) -> bool:
    """Whether `path` is an address such as s3://bucket/pack, and no path of this machine."""
    return "://" in path


def is_whole(path: str) -> bool:
    """Whether `path` means the same in every folder."""
    return is_address(path) or os.path.isabs(path)


def absolute(path: str) -> str:
    """`path` from the folder where this process runs; FileNotFoundError where that is gone.

    What is absolute already is left as it is written. `..` at the beginning is worked in; behind
    the name of a folder it stays, because that may be a link to elsewhere.
    """
    path = path if is_address(path) else os.path.expanduser(path)  # an unknown user's ~ stays
    if is_whole(path):
        return path
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path!r} is relative, and the folder where this command runs is gone; change into "
            "one that is there"
        ) from None
    parts = list(Path(path).parts)
    while parts and parts[0] == "..":
        folder = folder.parent
        parts.pop(0)
    return str(folder.joinpath(*parts))


@lru_cache
def path_keys(section: type[BaseModel]) -> Mapping[str, IsPath]:
    """The dotted keys of `section` that hold a path."""
    found: dict[str, IsPath] = {}
    for name, field in section.model_fields.items():
        if (mark := _mark(field)) is not None:
            found[name] = mark
        for member in members(field):
            found |= {f"{name}.{key}": inner for key, inner in path_keys(member).items()}
    return found


def with_absolute_paths(root: Branch, section: type[BaseModel], problems: list[Problem]) -> Branch:
    """The tree of a `section` with its relative paths made absolute; what cannot be is appended."""
    return _Walk(path_keys(section), str, problems).branch(root, ())


def sweep_with_absolute_paths(
    root: Branch, section: type[BaseModel], problems: list[Problem]
) -> Branch:
    """The tree of a sweep file over experiments that are a `section`, likewise.

    Wherever it has their keys: under `experiment`, among parameters and points, in its scales.
    """
    walk = _Walk(path_keys(section), _experiment_key, problems)
    root = walk.branch(root, ())
    match root.values.get("scales"):
        case Branch() as scales:
            told = {
                name: walk.branch(form, ()) if isinstance(form, Branch) else form
                for name, form in scales.values.items()
            }
            forms = Branch(scales.place, scales.keys, told)
            root = root.put("scales", root.keys["scales"], forms)
    return root


class _Walk:
    """Goes through a tree; `key_of` tells which key of the section stands at a dotted way."""

    def __init__(
        self,
        marks: Mapping[str, IsPath],
        key_of: Callable[[str], str],
        problems: list[Problem],
    ) -> None:
        self.marks, self.key_of, self.problems = marks, key_of, problems

    def branch(self, branch: Branch, way: tuple[str, ...]) -> Branch:
        """A copy of the part of the tree at `way`."""
        values = {name: self._node(node, (*way, name)) for name, node in branch.values.items()}
        return Branch(branch.place, branch.keys, values)

    def _node(self, node: Node, way: tuple[str, ...]) -> Node:
        match node:
            case Branch():
                return self.branch(node, way)
            case Items(place=place, items=items):
                return Items(place, tuple(self._node(item, way) for item in items))
            case Leaf(value=str(text)) if text:
                return self._leaf(node, text, ".".join(way))
        return node

    def _leaf(self, leaf: Leaf, text: str, way: str) -> Leaf:
        mark = self.marks.get(self.key_of(way))
        if mark is None or text in mark.words:
            return leaf
        try:
            return Leaf(leaf.place, leaf.text, absolute(text))
        except FileNotFoundError as error:
            self.problems.append(Problem(leaf.place, way, str(error)))
            return leaf


def _experiment_key(way: str) -> str:
    """The key of an experiment that a sweep file has at a dotted way; empty where it is none."""
    first, _, rest = way.partition(".")
    if first == "parameters":  # parameters.KEY.values, parameters.SECTION.values.KEY
        return ".".join(part for part in rest.split(".") if part != "values")
    return rest if first in _HOLD_KEYS else ""


def _mark(field: FieldInfo) -> IsPath | None:
    inner = (getattr(part, "__metadata__", ()) for part in get_args(field.annotation))
    marks = (*field.metadata, *chain.from_iterable(inner))
    return next((mark for mark in marks if isinstance(mark, IsPath)), None)


_PACKAGE = Path(__file__).resolve().parents[1]


_CHECKOUT = _PACKAGE.parent


def recipe_names() -> list[str]:
    """The recipes: the files of config/recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def sweeps() -> Path:
    """The folder of sweep files: inside an installed package, else in the checkout."""
    installed = _PACKAGE / "sweeps"
    return installed if installed.is_dir() else _CHECKOUT / "sweeps"


def evaluations() -> Path:
    """The folder of evaluations, likewise: a file each, read as files and not as a package."""
    installed = _PACKAGE / "evals"
    return installed if installed.is_dir() else _CHECKOUT / "evals"


def evaluation_names() -> list[str]:
    """The evaluations that ship."""
    return sorted(path.stem for path in evaluations().glob("*.py"))


def store_root() -> Path:
    """The absolute folder of database, artifacts and checkpoints, symbolic links followed.

    `PG_HOME` wins; else `runs/` in the checkout; else `runs/` in the current folder. A relative
    `PG_HOME` is meant from the current folder. ConfigError where it is the address of an object
    store, ValueError where it cannot be a folder.
    """
    if home := os.environ.get("PG_HOME"):
        if is_address(home):
            raise ConfigError([f"PG_HOME: wants a folder of this machine, got {home}"])
        return _folder(home)
    in_checkout = (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "sweeps").is_dir()
    return ((_CHECKOUT if in_checkout else Path.cwd()) / "runs").resolve()


def _folder(home: str) -> Path:
    try:
        home.encode()
        path = Path(absolute(str(Path(home).expanduser()))).resolve()
    except (UnicodeEncodeError, RuntimeError) as error:  # RuntimeError: no such user, or a circle
        raise ValueError(f"PG_HOME={home!a}: no name of a folder ({error})") from error
    there = next(each for each in (path, *path.parents) if each.exists())
    if not there.is_dir():
        raise ValueError(f"PG_HOME={home}: {there} is a file; give a folder, made if absent")
    return path
