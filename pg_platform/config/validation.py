"""What pydantic found wrong with a section, in plain words and with its place in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pg_platform.config.errors import Problem, Wrong, closest, one_of
from pg_platform.config.yaml_tree import (
    Branch,
    KeyPath,
    Node,
    at,
    depth,
    dotted,
    key_place,
    place_of,
    plain,
    shown,
)


def members(field: FieldInfo) -> tuple[type[BaseModel], ...]:
    """The sections that a key can hold: none for a leaf, several where `kind` chooses."""
    candidates = (field.annotation, *get_args(field.annotation))
    return tuple(t for t in candidates if isinstance(t, type) and issubclass(t, BaseModel))


class SectionOf:
    """Marks a key whose section the keys beside it decide: `choose` gives it from them, or None."""

    def __init__(self, choose: Callable[[Mapping[str, Any]], type[BaseModel] | None]) -> None:
        self.choose = choose


def kind(section: type[BaseModel]) -> str:
    """The word that chooses `section` among others."""
    return str(get_args(section.model_fields["kind"].annotation)[0])


def dotted_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All keys below `section`, sections before what is in them."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for member in members(field):
            yield from dotted_keys(member, f"{prefix}{name}.")


class Traced(NamedTuple):
    """Where a location of pydantic's leads: the way there, and what can stand there."""

    path: KeyPath
    sections: tuple[type[BaseModel], ...]
    nullable: bool


def trace(section: type[BaseModel], loc: KeyPath, root: Branch) -> Traced:
    """Follow a location in `root`, a `section`, leaving out the kinds that pydantic puts in it."""
    path: list[str | int] = []
    sections: tuple[type[BaseModel], ...] = (section,)
    field: FieldInfo | None = None
    skip_name = skip_kind = False
    for part in loc:
        if skip_kind:
            sections, skip_kind = tuple(s for s in sections if kind(s) == part), False
            continue
        path.append(part)
        if skip_name:
            skip_name = False
            continue
        field = sections[0].model_fields.get(str(part)) if sections else None
        sections = _chosen(field, at(root, tuple(path[:-1]))) if field else ()
        skip_kind = field is not None and field.discriminator is not None
        skip_name = field is not None and get_origin(field.annotation) is dict
    nullable = field is not None and NoneType in get_args(field.annotation)
    return Traced(tuple(path), sections, nullable)


def _chosen(field: FieldInfo, beside: Node | None) -> tuple[type[BaseModel], ...]:
    mark = next((each for each in field.metadata if isinstance(each, SectionOf)), None)
    if mark is None or not isinstance(beside, Branch):
        return members(field)
    section = mark.choose(plain(beside))
    return () if section is None else (section,)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with the value at `path`, or with its being there at all.

    `also` are the other keys that take part.
    """

    path: KeyPath
    message: str
    unknown: bool = False
    also: tuple[KeyPath, ...] = ()

    @property
    def paths(self) -> tuple[KeyPath, ...]:
        """All keys that take part, the one at fault first."""
        return (self.path, *self.also)

    def involves(self, others: Sequence[KeyPath]) -> bool:
        """Whether one of `others` is, holds or lies in a key that takes part."""
        return any(a[: len(b)] == b[: len(a)] for a in self.paths for b in others)

    def problem(self, root: Branch) -> Problem:
        """The finding at its place: where `root` has most of a key that takes part.

        Of keys that take part, one that the reader wrote before one of a recipe.
        """
        if self.unknown:
            place, message = key_place(root, self.path), self.message
            if place.shipped:
                section = dotted(self.path[:-1])
                message += (
                    f"; the recipe has it for another kind: write {section} whole, {{kind: ...}}"
                )
            return Problem(place, dotted(self.path), message)

        def nearness(path: KeyPath) -> tuple[bool, float]:
            return not place_of(root, path).shipped, depth(root, path) / len(path)

        nearest = max(self.paths, key=nearness)
        return Problem(place_of(root, nearest), dotted(self.path), self.message)


def findings(
    section: type[BaseModel], root: Branch, left_out: Sequence[KeyPath] = ()
) -> list[Finding]:
    """All that is wrong with `root` as a `section`.

    Pydantic checks no key against another while one of them is bad, so what is bad is left out
    and the rest checked again. A finding that involves what was left out, here or in `left_out`
    before, is no finding: it would be about a default.
    """
    found: list[Finding] = []
    skipped = list(left_out)
    tree = root
    while (error := _error(section, tree)) is not None:
        new = [_finding(details, section, tree) for details in error.errors(include_url=False)]
        found += [finding for finding in new if not finding.involves(skipped)]
        paths = [path for finding in new for path in finding.paths]
        smaller = without(tree, paths)
        if smaller == tree:
            break
        skipped += paths
        tree = smaller
    return found


def without(tree: Branch, paths: Sequence[KeyPath]) -> Branch:
    """The tree without some parts; what is not there itself goes with the part around it."""
    for path in paths:
        way = path
        while way and at(tree, way) is None:
            way = way[:-1]
        tree = _cut(tree, way) if way else tree
    return tree


def _cut(tree: Branch, way: KeyPath) -> Branch:
    key, inside = str(way[0]), way[1:]
    match tree.values[key]:
        case Branch() as child if inside:
            return tree.put(key, tree.keys[key], _cut(child, inside))
    return tree.without(key)


def _error(section: type[BaseModel], tree: Branch) -> ValidationError | None:
    try:
        section.model_validate(plain(tree))
    except ValidationError as error:
        return error
    return None


def _finding(details: ErrorDetails, section: type[BaseModel], root: Branch) -> Finding:
    traced = trace(section, details["loc"], root)
    path, context = traced.path, details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            parent = trace(section, details["loc"][:-1], root)
            message = _unknown(parent, str(path[-1]), at(root, parent.path))
            return Finding(path, message, unknown=True)
        case "missing":
            return Finding(path, "is missing")
        case "value_error" if isinstance(wrong := context["error"], Wrong):
            also = tuple((*path, *key.split(".")) for key in wrong.also)
            return Finding((*path, *wrong.key.split(".")), wrong.message, also=also)
        case "union_tag_invalid":
            path = (*path, "kind")
            wanted = one_of(context["tag"], [kind(option) for option in traced.sections])
        case _:
            wanted = _wanted(details, traced) + (" or null" if traced.nullable else "")
    node = at(root, path)
    return Finding(path, wanted if node is None else f"{wanted}, got {shown(node)}")


def _unknown(parent: Traced, key: str, beside: Node | None) -> str:
    known = [name for section in parent.sections for name in section.model_fields]
    deeper = [name for section in parent.sections for name in dotted_keys(section)]
    fields = [field for section in parent.sections for field in section.model_fields.items()]
    for name, field in fields:
        for chosen in _chosen(field, beside):
            deeper += dotted_keys(chosen, f"{name}.")
    near = closest(key, known + deeper)
    remedy = f"did you mean '{near}'?" if near else f"known keys: {', '.join(known) or 'none'}"
    return f"unknown key; {remedy}"


def _wanted(details: ErrorDetails, traced: Traced) -> str:
    context: Mapping[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "dict_type":
            return "wants keys and values"
        case "model_type" | "model_attributes_type":
            return _example(traced.sections)
        case "literal_error":
            return one_of(str(details["input"]), re.findall(r"'([^']*)'", context["expected"]))
        case "too_long":
            return f"wants at most {context['max_length']} in the list"
        case "too_short":
            return f"wants at least {context['min_length']} in the list"
        case "value_error":
            return str(context["error"])
        case known if known in _WANTED:
            return _WANTED[known].format(**context)
    return details["msg"][:1].lower() + details["msg"][1:]


_WANTED = {
    "int_type": "wants a whole number",
    "float_type": "wants a number",
    "finite_number": "wants a finite number",
    "bool_type": "wants true or false",
    "string_type": "wants text",
    "string_too_short": "wants text of at least {min_length} character",
    "tuple_type": "wants a list",
    "greater_than": "wants more than {gt:.15g}",
    "greater_than_equal": "wants at least {ge:.15g}",
    "less_than": "wants less than {lt:.15g}",
    "less_than_equal": "wants at most {le:.15g}",
}


def _example(sections: Sequence[type[BaseModel]]) -> str:
    if len(sections) > 1:
        return f"wants keys and values, such as {{kind: {kind(sections[0])}}}"
    keys = list(sections[0].model_fields) if sections else []
    return f"wants {{{keys[0]}: ...}}" if len(keys) == 1 else f"wants keys ({', '.join(keys)})"
