"""What the sections of a config can hold, read off their types."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pg_platform.config.tree import KeyPath


def members(field: FieldInfo) -> tuple[type[BaseModel], ...]:
    """The sections that a key can hold: none for a leaf, several where `kind` chooses."""
    candidates = (field.annotation, *get_args(field.annotation))
    return tuple(t for t in candidates if isinstance(t, type) and issubclass(t, BaseModel))


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


def trace(section: type[BaseModel], loc: KeyPath) -> Traced:
    """Follow a location from `section`, leaving out the kinds that pydantic puts into it."""
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
        sections = members(field) if field else ()
        skip_kind = field is not None and field.discriminator is not None
        skip_name = field is not None and get_origin(field.annotation) is dict
    nullable = field is not None and NoneType in get_args(field.annotation)
    return Traced(tuple(path), sections, nullable)
