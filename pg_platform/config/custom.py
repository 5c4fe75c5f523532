"""Classes from outside the package: `kind: custom, target: package.module:Class`.

The class is imported where a file names it and nowhere else, so that this file needs no torch. What
the class is to have is said by the sections of experiment.py that stand on `Custom`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from pg_platform.config.errors import Problem, meant
from pg_platform.config.paths import absolute, path_keys, with_absolute_paths
from pg_platform.config.section import Section
from pg_platform.config.validation import SectionOf
from pg_platform.config.yaml_tree import Branch, Items, Leaf, Node

_TARGET = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_OURS = ("pg_platform", "evals")
_MODULE = "torch.nn.modules.module.Module"
_LOADED: dict[str, str] = {}
"""The hash of the source from which each module was imported here."""
_ROOTS: set[str] = set()
"""The folders that were put on sys.path here: what lies there is not installed."""


@dataclass(frozen=True)
class Found:
    """A class from outside, the folder its module was found in (None: installed), its source."""

    cls: type[Any]
    folder: str | None
    source: str

    @property
    def options(self) -> type[Section]:
        """The section that types its options; one without keys where it names none."""
        return getattr(self.cls, "Options", Section)


def find(target: str, folder: str | None = None) -> Found:
    """The class `target`, imported; ValueError where it cannot be.

    Its module is looked for in `folder`, then in the one where the command runs, then among the
    installed packages. `forget` has what was found looked for again.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    return _find(target, tuple(dict.fromkeys(filter(None, (folder, here)))))


def forget() -> None:
    """Files may have changed: a class that is found next is of the source as it is then."""
    _find.cache_clear()


@lru_cache
def _find(target: str, folders: tuple[str, ...]) -> Found:
    if (named := _TARGET.fullmatch(target)) is None:
        raise ValueError("wants package.module:Class")
    module_name, class_name = named.groups()
    root = next((each for each in folders if _file(each, module_name)), None)
    if root is None:
        _refuse_unknown(module_name, folders)
        files = _installed(module_name)
    else:
        files = _closure(Path(root), module_name)
    source = _hash(files)
    module = _imported(module_name, files, source, root)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [n for n, each in vars(module).items() if isinstance(each, type)]
        raise ValueError(f"no class {class_name} in {module.__file__}{meant(class_name, classes)}")
    options = getattr(found, "Options", Section)
    if not (isinstance(options, type) and issubclass(options, Section)):
        raise ValueError(
            f"{class_name}.Options wants to be a class on pg_platform.config.section.Section"
        )
    return Found(found, root, source)


def import_file(file: Path) -> ModuleType:
    """A Python file as a module that no import finds by its name; ValueError where it cannot be."""
    if not file.is_file():
        raise ValueError(f"no file {file}")
    root, name = str(file.parent), f"file:{file}"
    _put_on_path(root)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with _no_bytecode():
            spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{file} cannot be imported: {told_in_place(error, root)}") from error
    return module


def source_of(file: Path) -> str:
    """12 hex digits of a Python file and of what it imports from its own folder."""
    return _hash(_closure(file.parent, file.stem))


def _file(root: str | Path, module: str) -> Path | None:
    """The file of a dotted module below `root`."""
    place = Path(root, *module.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _refuse_unknown(module: str, folders: Sequence[str]) -> None:
    with suppress(ModuleNotFoundError, ValueError):
        spec = importlib.util.find_spec(module)
        place = str(spec.origin) if spec is not None else ""
        if place and not any(place.startswith(f"{root}{os.sep}") for root in _ROOTS):
            return
    file, places = f"{module.replace('.', '/')}.py", " or ".join(folders)
    raise ValueError(f"no {file} in {places}, and no installed package has {module}")


def _installed(module: str) -> dict[str, Path]:
    """The Python files of the package that a module is installed with, by their names there."""
    top = importlib.util.find_spec(module.partition(".")[0])
    if top is None or top.origin is None:
        return {}
    if not top.submodule_search_locations:
        return {top.name: Path(top.origin)}
    folder = Path(top.origin).parent
    return {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*.py"))}


def _closure(root: Path, module: str) -> dict[str, Path]:
    """A module below `root` and what it imports from there, as their texts say, by dotted name."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] in _OURS or not (file := _file(root, name)):
            continue
        found[name] = file
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        parents = name.split(".")[:-1]
        waiting += [".".join(parents[: n + 1]) for n in range(len(parents))]
        with suppress(SyntaxError, ValueError):  # told of when it is imported
            waiting += _imports(ast.parse(file.read_bytes()), package)
    return dict(sorted(found.items()))


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The dotted names that a module of `package` may import."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[: len(package.split(".")) + 1 - level] if level else []
                base = ".".join(filter(None, [*above, module or ""]))
                yield base
                yield from (f"{base}.{each.name}".lstrip(".") for each in names)


def _hash(files: Mapping[str, Path]) -> str:
    """12 hex digits: equal for files of equal names and bytes."""
    found = hashlib.sha256()
    for name, file in files.items():
        content = file.read_bytes()
        found.update(f"{name} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:12]


def _imported(name: str, files: Mapping[str, Path], source: str, root: str | None) -> ModuleType:
    """The module; one that was imported from another text is imported again."""
    if root is not None:
        _put_on_path(root)
        if _LOADED.get(name, source) != source:
            for each in files:
                sys.modules.pop(each, None)
    try:
        with _no_bytecode():
            module = importlib.import_module(name)
    except Exception as error:
        raise ValueError(f"cannot be imported: {told_in_place(error, root)}") from error
    for each, file in files.items() if root is not None else ():
        there = getattr(sys.modules.get(each), "__file__", None)
        if there is not None and not file.samefile(there):
            raise ValueError(f"{file} is called as {there}, which is imported; rename it")
    _LOADED[name] = source
    return module


def _put_on_path(root: str) -> None:
    """At the end: a file that is called as a library is not to stand in for it."""
    if root not in sys.path:
        sys.path.append(root)
        _ROOTS.add(root)


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """An edit in the second after an import would be taken for the text that was compiled."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def told_in_place(error: Exception, root: str | None) -> str:
    """`NameError: name 'x' is not defined (parts.py:3)`, where a file of `root` raised it."""
    told = f"{type(error).__name__}: {error}".partition("\n")[0]
    if isinstance(error, SyntaxError):
        return told
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if root is not None and f.filename.startswith(root)]
    return f"{told} ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else told


def _section(values: Mapping[str, Any]) -> type[Section] | None:
    """The section of `options` beside a `target` and a `folder`; None where there is no class."""
    target, folder = values.get("target"), values.get("folder")
    if isinstance(target, str) and isinstance(folder, str | None):
        with suppress(ValueError):
            return find(target, folder).options
    return None


class Custom(Section):
    """A class from outside the package, `target`: package.module:Class, and its own `options`.

    The module is looked for in `folder`, by default that of the file which names it, then where the
    command runs, then among installed packages. `source` is a hash of its text. Both are filled in
    when a file is read, and go with the run to other processes and machines.
    """

    needs: ClassVar[Mapping[str, str]] = {"forward": "(images)"}
    """The methods that the class is to have, each with its arguments and result."""
    built_with: ClassVar[str] = "(experiment, options)"
    is_module: ClassVar[bool] = True
    """Whether it is to be a torch.nn.Module."""

    kind: Literal["custom"]
    folder: str | None = None
    target: str
    source: str | None = None
    options: Annotated[SerializeAsAny[Section], SectionOf(_section)] = Field(
        default=Section(), validate_default=True, json_schema_extra={"additionalProperties": True}
    )

    @model_validator(mode="before")
    @classmethod
    def _as_found(cls, values: Any) -> Any:
        """With the folder and the source of the class; where there is none, `target` tells why."""
        if not isinstance(values, dict) or _section(values) is None:
            return values
        found = find(values["target"], values.get("folder"))
        return {**values, "folder": found.folder, "source": values.get("source") or found.source}

    @field_validator("target")
    @classmethod
    def _fits(cls, target: str, info: ValidationInfo) -> str:
        if "folder" in info.data:
            found = find(target, info.data["folder"])
            if (lacking := cls._lacking(found.cls)) is not None:
                raise ValueError(f"{target.rpartition(':')[2]} {lacking}")
        return target

    @classmethod
    def _lacking(cls, found: type[Any]) -> str | None:
        """What the class would need to have to be one of these."""
        bases = [f"{base.__module__}.{base.__qualname__}" for base in found.__mro__]
        if cls.is_module and _MODULE not in bases:
            return "wants to be a torch.nn.Module"
        for name, arguments in cls.needs.items():
            method = getattr(found, name, None)
            if not callable(method) or method.__name__ == "_forward_unimplemented":
                return f"lacks {name}{arguments}"
        try:
            inspect.signature(found).bind(None, None)
        except TypeError:
            return f"wants to be built with {cls.built_with}"
        return None

    @field_validator("options", mode="before")
    @classmethod
    def _typed(cls, given: Any, info: ValidationInfo) -> Any:
        if (section := _section(info.data)) is None:
            return Section()
        if isinstance(given, Section):
            given = given.model_dump()
        if isinstance(given, dict):
            marks = path_keys(section)
            given = {k: _whole(v) if k in marks else v for k, v in given.items()}
        return section.model_validate(given)

    def load(self) -> type[Any]:
        """The class; ValueError where its source is not the one that this section tells of."""
        found = find(self.target, self.folder)
        if found.source != self.source:
            raise ValueError(
                f"{self.target} in {found.folder or 'the installed packages'} has changed: its "
                f"source was {self.source} and is {found.source}; put it back as it was, or start "
                "the sweep again, which then has other trials"
            )
        return found.cls

    def deciding(self) -> dict[str, Any]:
        """All of it that decides a result: not where it lies; of an option's file its content."""
        options = self.options.model_dump(mode="json")
        for key in path_keys(type(self.options)):
            if isinstance(file := options.get(key), str) and os.path.isfile(file):
                with open(file, "rb") as opened:
                    options[key] = hashlib.file_digest(opened, "sha256").hexdigest()
        return {**self.model_dump(mode="json", exclude={"folder"}), "options": options}


def _whole(value: Any) -> Any:
    return absolute(value) if isinstance(value, str) and value else value


def with_folders(root: Branch, folder: Path, problems: list[Problem]) -> Branch:
    """The tree of a file in `folder`, each custom section with the folder and source of its class.

    The paths among its options are made absolute. A class that cannot be had stays as it is
    written; it is told of where the section is checked.
    """
    forget()
    return _Walk(str(folder.absolute()), problems).branch(root)


class _Walk:
    def __init__(self, folder: str, problems: list[Problem]) -> None:
        self.folder, self.problems = folder, problems

    def branch(self, branch: Branch) -> Branch:
        values = {name: self._node(node) for name, node in branch.values.items()}
        branch = Branch(branch.place, branch.keys, values)
        match values:
            case {"kind": Leaf(value="custom"), "target": Leaf(value=str(target))}:
                return self._custom(branch, target)
        return branch

    def _node(self, node: Node) -> Node:
        match node:
            case Branch():
                return self.branch(node)
            case Items(place=place, items=items):
                return Items(place, tuple(self._node(item) for item in items))
        return node

    def _custom(self, branch: Branch, target: str) -> Branch:
        place, given = branch.keys["target"], branch.values.get("folder")
        match given:
            case None:
                folder = self.folder
            case Leaf(value=str(written)) if written:
                folder = absolute(written)
            case _:
                return branch
        with suppress(ValueError):
            found = find(target, folder)
            folder = found.folder or folder
            if "source" not in branch.keys:
                branch = branch.put("source", place, Leaf(place, found.source, found.source))
            if isinstance(options := branch.values.get("options"), Branch):
                options = with_absolute_paths(options, found.options, self.problems)
                branch = branch.put("options", branch.keys["options"], options)
        return branch.put("folder", place, Leaf(place, folder, folder))
