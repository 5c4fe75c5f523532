"""The options of a command, typed and strict as a file is, from `--set key=value` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pg_platform.config.document import ConfigError, Document, Section
from pg_platform.config.experiment import Experiment
from pg_platform.config.layers import overridden
from pg_platform.config.paths import absolute, path_keys, with_absolute_paths
from pg_platform.config.problems import Place, Problem
from pg_platform.config.tree import Branch

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
