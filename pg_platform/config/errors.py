"""What is nobody's mistake in a file."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

RECIPES = Path(__file__).resolve().parent / "recipes"


class InfrastructureError(RuntimeError):
    """A service that the platform stands on (Ray, the store) cannot be had. Exit code 4."""


class ConfigError(Exception):
    """A config that cannot be used: all that is wrong with it, one problem a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(ValueError):
    """Images that cannot be had as the `key` of an experiment says.

    `remedy` has {} where the option stands that gives the key another value, such as `value`.
    Each command sets a key by an option of its own: see `told`.
    """

    def __init__(self, key: str, problem: str, remedy: str, value: str) -> None:
        super().__init__(key, problem, remedy, value)
        self.key, self.problem, self.remedy, self.value = key, problem, remedy, value

    def __str__(self) -> str:
        """For whoever does not know which command was given, as a worker of Ray."""
        return self.told(lambda key, value: f"--set {key}={value} (a sweep: experiment.{key})")

    def told(self, option: Callable[[str, str], str]) -> str:
        """The message where `option` says how the command at hand sets a key to a value."""
        return f"{self.key}: {self.problem}; {self.remedy.format(option(self.key, self.value))}"


class Wrong(ValueError):  # noqa: N818
    """Raised inside a section's validator: `key`, dotted and seen from there, has a bad value.

    `also` are the other keys that take part: where the file has only those, they are pointed at.
    """

    def __init__(self, key: str, message: str, *also: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message
        self.also = also


class Place(NamedTuple):
    """A spot in a file, counted from 1; `line` 0 is a source without lines (`--set key=value`)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    @property
    def shipped(self) -> bool:
        """Whether it is in a recipe of the package, which a reader cannot change."""
        return Path(self.source).parent == RECIPES


class Problem(NamedTuple):
    """One thing that is wrong. Problems sort by where they are."""

    place: Place
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(str(part) for part in self if part)


def refuse(problems: Iterable[Problem]) -> None:
    """Raise ConfigError if there are problems, each once and in the order of the file."""
    if lines := list(dict.fromkeys(str(problem) for problem in sorted(problems))):
        raise ConfigError(lines)


def closest(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that was probably meant: by its last part, its beginning or its looks."""
    for name in known:
        if name.rpartition(".")[2] == word:
            return name
    for name in known:
        if len(word) > 2 and name.startswith(word):
            return name
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.7)), None)


def meant(word: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where nothing is near."""
    near = closest(word, known)
    return f" (did you mean '{near}'?)" if near else ""


def one_of(word: str, choices: Sequence[str]) -> str:
    """What is wanted in place of a word that is none of `choices`."""
    wanted = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    return f"wants {wanted}{meant(word, choices)}"
