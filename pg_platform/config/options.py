"""The options of a command, typed and strict as a file is, from `--set key=value` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pg_platform.config.document import Document, Section
from pg_platform.config.layers import overridden
from pg_platform.config.problems import Place, Problem
from pg_platform.config.tree import Branch

S = TypeVar("S", bound=Section)


def load_options(section: type[S], overrides: Sequence[str]) -> S:
    """A `section` of defaults with `overrides` on top; ConfigError with all that is wrong."""
    problems: list[Problem] = []
    root = overridden(Branch(Place("--set"), {}, {}), overrides, problems)
    return Document(root, problems).parse(section)
