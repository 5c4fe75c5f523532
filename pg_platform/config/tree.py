"""A config as a tree whose parts know their place in the file. Nothing in it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pg_platform.config.problems import Place

KeyPath = tuple[str | int, ...]
"""A way down a tree: keys, and positions in lists."""

_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: its text in the file and the value that the text stands for."""

    place: Place
    text: str
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """A mapping: the place and the value of each key, in the order of the file."""

    place: Place
    keys: Mapping[str, Place]
    values: Mapping[str, Node]

    def put(self, key: str, place: Place, value: Node) -> Branch:
        """A copy with `key` set."""
        return Branch(self.place, {**self.keys, key: place}, {**self.values, key: value})

    def without(self, *dropped: str) -> Branch:
        """A copy that lacks some keys."""
        keys = {key: place for key, place in self.keys.items() if key not in dropped}
        return Branch(self.place, keys, {key: self.values[key] for key in keys})


Node = Leaf | Items | Branch


def at(root: Node, path: KeyPath) -> Node | None:
    """The part of the tree at `path`, None where it is not there."""
    node: Node | None = root
    for part in path:
        node = _child(node, part)
    return node


def branch_at(root: Node, path: KeyPath) -> Branch | None:
    """The mapping at `path`, None where there is none."""
    match at(root, path):
        case Branch() as branch:
            return branch
    return None


def depth(root: Node, path: KeyPath) -> int:
    """How many parts of `path` the tree has."""
    return next((n for n in range(len(path), 0, -1) if at(root, path[:n]) is not None), 0)


def place_of(root: Node, path: KeyPath) -> Place:
    """Where the value at `path` stands, or the deepest part around it that the tree has."""
    node = at(root, path[: depth(root, path)])
    assert node is not None
    return node.place


def key_place(root: Node, path: KeyPath) -> Place:
    """Where the last key of `path` stands, or the deepest part around it that the tree has."""
    parent = at(root, path[:-1])
    match parent, path[-1]:
        case Branch(), str(key) if key in parent.keys:
            return parent.keys[key]
    return place_of(root, path)


def dotted(path: KeyPath) -> str:
    """The path as messages have it: `parameters.optimizer.lr.values[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path)
    return text.removeprefix(".")


def plain(node: Node) -> Any:
    """The tree as dicts, tuples and scalars."""
    match node:
        case Leaf():
            return node.value
        case Items():
            return tuple(plain(item) for item in node.items)
        case Branch():
            return {key: plain(value) for key, value in node.values.items()}


def shown(node: Node) -> str:
    """A part of the tree as a message shows it: numbers as they were written, text in quotes."""
    match node:
        case Leaf(value=str()):
            text = repr(node.value)
        case Leaf():
            text = node.text or "nothing"
        case Items():
            text = f"[{', '.join(shown(item) for item in node.items)}]"
        case Branch():
            text = f"{{{', '.join(f'{k}: {shown(v)}' for k, v in node.values.items())}}}"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _key(name: str) -> str:
    """A key as it is, in quotes where it has spaces or nothing in it."""
    return name if name.isprintable() and name.split() == [name] else repr(name)


def _child(node: Node | None, part: str | int) -> Node | None:
    match node, part:
        case Branch(), str() if part in node.values:
            return node.values[part]
        case Items(), int() if part < len(node.items):
            return node.items[part]
    return None
