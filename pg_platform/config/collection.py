"""A list of sweeps that are run one after the other and told of on one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from pg_platform.config.errors import Problem, one_of
from pg_platform.config.section import Document, Section
from pg_platform.config.sweep_file import safe_name
from pg_platform.config.yaml_tree import Branch, Items, Leaf, at, dotted, read, shown

SWEEPS = "sweeps"


class Collection(Section):
    """All that the file of a collection may say: its name, and sweep files beside it by name."""

    name: Annotated[str, AfterValidator(safe_name)]
    sweeps: Annotated[tuple[str, ...], Field(min_length=1)]


def is_collection(path: Path) -> bool:
    """Whether the file has a list of sweeps; ConfigError where it is not a YAML mapping."""
    return SWEEPS in read(path, []).keys


def load_collection(path: Path) -> tuple[str, list[Path]]:
    """The name of a collection and the files of its sweeps, in its order.

    ConfigError with all that is wrong. What the sweeps say themselves is not checked here.
    """
    document = Document.read(path)
    document.problems += _unknown(document.root, path)
    collection = document.parse(Collection)
    return collection.name, [path.with_name(f"{name}.yaml") for name in collection.sweeps]


def _unknown(root: Branch, path: Path) -> Iterator[Problem]:
    """Names that stand for no sweep beside the file, or stand there twice."""
    listed = at(root, (SWEEPS,))
    known = sorted(file.stem for file in path.parent.glob("*.yaml") if file != path)
    seen: set[str] = set()
    for index, item in enumerate(listed.items if isinstance(listed, Items) else ()):
        match item:
            case Leaf(value=str(name)) if why := _why_not(name, path, known, seen):
                yield Problem(item.place, dotted((SWEEPS, index)), f"{why}, got {shown(item)}")
                seen.add(name)
            case Leaf(value=str(name)):
                seen.add(name)


def _why_not(name: str, path: Path, known: Sequence[str], seen: set[str]) -> str | None:
    if name in seen:
        return "wants each sweep once"
    if name not in known:
        return one_of(name, known) if known else f"wants a sweep, of which {path.parent} has none"
    if is_collection(path.with_name(f"{name}.yaml")):
        return "wants a sweep and no collection"
    return None
