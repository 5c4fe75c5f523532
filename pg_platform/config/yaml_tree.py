"""YAML, stricter than PyYAML and with the scalars of YAML 1.2.

`1e-4` is a number; `on`, `12:30:45` and `2021-01-01` are text; only true and false are booleans.
Duplicate keys, merge keys, anchors, aliases and tags are refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pg_platform.config.errors import ConfigError, Place, Problem

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


DEEPEST = 32
"""Levels of nesting that a file may have; a config needs about six."""


_NULL = re.compile(r"~|null|Null|NULL|")


_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")


_INT = re.compile(r"[-+]?[0-9]{1,100}")


_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


_HALF = re.compile("[\ud800-\udfff]")


_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read(path: Path, problems: list[Problem]) -> Branch:
    """The mapping in a file; ConfigError where there is none, other problems are appended."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = str(error.strerror).lower()
        raise ConfigError([f"{path}: cannot be read: {reason}"]) from None
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        place = Place(str(path), before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise ConfigError([f"{place}: not UTF-8 text; save the file as UTF-8"]) from None
    root = compose(text, Place(str(path), 1, 1), problems)
    if isinstance(root, Branch):
        return root
    if root is None:
        raise ConfigError([f"{path}:1:1: the file is empty; write {{}} for no differences"])
    raise ConfigError([f"{root.place}: wants keys and values at the top, got {shown(root)}"])


def compose(text: str, origin: Place, problems: list[Problem], path: KeyPath = ()) -> Node | None:
    """The tree of one YAML document, None where it is empty. Problems have keys below `path`.

    Where `origin` has no line, it is the place of every part. Raises ConfigError for what is not
    YAML and for the parts of YAML that are not read; other problems are appended.
    """
    composer = _Composer(text, origin, problems)
    try:
        root = composer.document(path)
    except yaml.MarkedYAMLError as error:
        mark, message = _plain_words(error)
        raise ConfigError([f"{composer.place(mark)}: not valid YAML: {message}"]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = yaml.Mark("", 0, before.count("\n"), len(before.rpartition("\n")[2]), None, 0)
        character = f"control character U+{ord(text[error.position]):04X}"
        raise ConfigError([f"{composer.place(mark)}: not valid YAML: {character}"]) from None
    if composer.refused:
        raise ConfigError(composer.refused)
    return root


def has_comment(text: str) -> bool:
    """Whether a part of YAML text that can be read is a comment, which `compose` leaves out."""
    end = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start = token.start_mark.index
        head = text[start : token.end_mark.index].partition("\n")[0]
        block = isinstance(token, yaml.ScalarToken) and token.style in ("|", ">")
        if "#" in text[end:start] or (block and "#" in head):
            return True
        end = token.end_mark.index
    return "#" in text[end:]


def dump(node: Node) -> str:
    """YAML text that reads as the same tree."""
    return yaml.dump(plain(node), Dumper=_Dumper, sort_keys=False)


class _Composer:
    """Builds the tree from PyYAML's events."""

    def __init__(self, text: str, origin: Place, problems: list[Problem]) -> None:
        self.text = text
        self.origin = origin
        self.problems = problems
        self.refused: list[str] = []

    def document(self, path: KeyPath) -> Node | None:
        """The only document of the text."""
        events = yaml.parse(self.text, Loader=yaml.SafeLoader)
        root = None
        for event in events:
            match event:
                case yaml.NodeEvent() if root is not None:
                    place = self.place(event.start_mark)
                    raise ConfigError([f"{place}: a second document; a config is one"])
                case yaml.NodeEvent():
                    root = self.node(event, events, path)
        return root

    def node(self, event: yaml.Event, events: Iterator[yaml.Event], path: KeyPath) -> Node:
        """The part at `path`, which `event` begins; takes the events up to its end."""
        place = self.place(event.start_mark)
        if len(path) > DEEPEST:
            raise ConfigError([f"{place}: more than {DEEPEST} levels of nesting"])
        self.refuse_extras(event, place)
        if isinstance(event, yaml.ScalarEvent):
            self.refuse_half_characters(event.value, place)
        match event:
            case yaml.ScalarEvent(style=None):
                return Leaf(place, event.value, _value(event.value))
            case yaml.ScalarEvent():
                return Leaf(place, event.value, event.value)
            case yaml.SequenceStartEvent():
                return Items(place, tuple(self.items(events, path)))
            case yaml.MappingStartEvent():
                return self.branch(place, events, path)
        return Leaf(place, "", None)

    def items(self, events: Iterator[yaml.Event], path: KeyPath) -> Iterator[Node]:
        """The parts of a list."""
        position = itertools.count()
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            yield self.node(event, events, (*path, next(position)))

    def branch(self, place: Place, events: Iterator[yaml.Event], path: KeyPath) -> Branch:
        """The parts of a mapping; the first of two equal keys stays."""
        keys: dict[str, Place] = {}
        values: dict[str, Node] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.node(event, events, (*path, ""))
            name = key.text if isinstance(key, Leaf) else ""
            value = self.node(next(events), events, (*path, name))
            if not isinstance(key, Leaf):
                message = f"a key wants text, got {shown(key)}"
                self.problems.append(Problem(key.place, dotted(path), message))
            elif name == "<<":
                message = "a merge key is not read; write the keys out"
                self.problems.append(Problem(key.place, dotted((*path, name)), message))
            elif name in keys:
                first = f"first in line {keys[name].line}, " if place.line else ""
                message = f"given twice, {first}got {shown(value)}"
                self.problems.append(Problem(key.place, dotted((*path, name)), message))
            else:
                keys[name], values[name] = key.place, value
        return Branch(place, keys, values)

    def refuse_extras(self, event: Any, place: Place) -> None:
        """An alias would give one part two places, and a tag another type."""
        if isinstance(event, yaml.AliasEvent):
            self.refused.append(f"{place}: alias *{event.anchor} is not read; write the value out")
        elif event.anchor is not None:
            self.refused.append(f"{place}: anchor &{event.anchor} is not read; leave it out")
        elif event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.refused.append(f"{place}: tag {tag} is not read; leave it out")

    def refuse_half_characters(self, text: str, place: Place) -> None:
        """Escapes can give half of a character of UTF-16, which no file and no store takes."""
        if (found := _HALF.search(text)) is not None:
            half = f"U+{ord(found[0]):04X}"
            self.refused.append(f"{place}: {half} in the text is half a character; leave it out")

    def place(self, mark: Any) -> Place:
        """The spot of a mark of PyYAML's."""
        if self.origin.line == 0 or mark is None:
            return self.origin
        return Place(self.origin.source, mark.line + 1, mark.column + 1)


def _value(text: str) -> bool | int | float | str | None:
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


def _plain_words(error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, str]:
    """PyYAML's complaint, in the words of someone who only writes keys and values."""
    problem, mark = str(error.problem), error.problem_mark
    if "'\\t'" in problem:
        return mark, "a tab; indent with spaces"
    if problem == "mapping values are not allowed here":
        return mark, "a second ':' in one entry; start a new line, or quote text that has one"
    if problem == "could not find expected ':'":
        return error.context_mark, "no ':' after the key"
    if error.context and error.context_mark and mark != error.context_mark:
        problem += f" ({error.context} from line {error.context_mark.line + 1})"
    return mark, problem


class _Dumper(yaml.SafeDumper):
    """Quotes text that would read as a number, a boolean or null."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _value(text) == text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
