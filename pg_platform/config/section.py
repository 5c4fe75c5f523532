"""A YAML file as a checked, frozen section of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from pg_platform.config.errors import ConfigError, Problem, Wrong, refuse
from pg_platform.config.validation import findings
from pg_platform.config.yaml_tree import Branch, plain, read

__all__ = ["ConfigError", "Document", "Section", "Wrong"]


class Section(BaseModel):
    """A part of a config: no unknown keys, no conversions, no NaN; it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, values: Any) -> Any:
        """A list stands for a tuple, and a choice without `kind` keeps the default's kind."""
        if not isinstance(values, dict):
            return values
        read = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        for name, field in cls.model_fields.items():
            if field.discriminator and name in read and not field.is_required():
                given = read[name]
                if isinstance(given, dict):
                    read[name] = {"kind": field.default.kind, **given}
        return read


S = TypeVar("S", bound=Section)


class Document:
    """The mapping in a YAML file, with the place of each part and what is wrong so far."""

    def __init__(self, root: Branch, problems: list[Problem]) -> None:
        self.root = root
        self.problems = problems

    @classmethod
    def read(cls, path: Path) -> Document:
        """Raises ConfigError where the file is not a YAML mapping."""
        problems: list[Problem] = []
        return cls(read(path, problems), problems)

    def parse(self, section: type[S]) -> S:
        """The file as a `section`; ConfigError with all problems at once."""
        self.problems += [f.problem(self.root) for f in findings(section, self.root)]
        refuse(self.problems)
        return section.model_validate(plain(self.root))
