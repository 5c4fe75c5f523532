"""Which choices of values are points: `zip`, `when` and `exclude` of a sweep file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from pg_platform.config.errors import Place, Problem, meant
from pg_platform.config.experiment import Experiment
from pg_platform.config.yaml_tree import Branch, Items, Leaf, Node, at, branch_at, dotted, plain
from pg_platform.sweep.expressions import Expression, parse
from pg_platform.sweep.parameters import Parameter


class UndecidedError(Exception):
    """An expression that is neither true nor false in a point."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Rule:
    """An expression of a sweep file, and where it stands there."""

    expression: Expression
    place: Place
    where: str


@dataclass(frozen=True)
class Rules:
    """What makes points of the values of `parameters`, over the experiment `base`."""

    base: Branch
    groups: tuple[tuple[str, ...], ...]
    """Keys whose values advance together."""
    when: Mapping[str, Rule]
    """By the key that a rule is for, each behind those that it depends on."""
    exclude: tuple[Rule, ...]

    def active(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a choice that is varied there, in its order; UndecidedError."""
        if not self.when:
            return dict(choice)
        kept = {key: value for key, value in choice.items() if key not in self.when}
        for key, rule in self.when.items():
            if key in choice and self._holds(rule, kept, otherwise=True):
                kept[key] = choice[key]
        return {key: choice[key] for key in choice if key in kept}

    def excluded(self, active: Mapping[str, Any]) -> bool:
        """Whether a point is left out; UndecidedError."""
        return any(self._holds(rule, active, otherwise=False) for rule in self.exclude)

    def _holds(self, rule: Rule, active: Mapping[str, Any], *, otherwise: bool) -> bool:
        """`otherwise`: what is no experiment decides nothing, and has problems of its own."""
        settings = Settings(plain(self.base), active)
        try:
            return rule.expression.holds({k: settings[k] for k in rule.expression.keys})
        except ValueError as error:
            if settings.experiment is None:
                return otherwise
            raise UndecidedError(Problem(rule.place, rule.where, str(error))) from None


class Settings:
    """The values of a point by dotted key, which may be no experiment."""

    def __init__(self, base: dict[str, Any], active: Mapping[str, Any]) -> None:
        self.data = base
        for key, value in active.items():
            self.data = with_value(self.data, key.split("."), value)
        self._checked: list[Experiment | None] = []

    def __getitem__(self, key: str) -> Any:
        """As written, else the default; null where the point has no such key."""
        node: Any = self.data
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                break
            node = node[part]
        else:
            return node
        value: Any = self.experiment or Experiment()
        for part in key.split("."):
            if not isinstance(value, BaseModel) or part not in type(value).model_fields:
                return None
            value = getattr(value, part)
        return value

    @property
    def experiment(self) -> Experiment | None:
        """None where the values are no experiment."""
        if not self._checked:
            try:
                self._checked.append(Experiment.model_validate(self.data))
            except ValidationError:
                self._checked.append(None)
        return self._checked[0]


def with_value(values: dict[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of nested dicts with `value` at `keys`; what is not on the way is shared."""
    first, *rest = keys
    inner = with_value(values.get(first, {}), rest, value) if rest else value
    return {**values, first: inner}


def read_rules(
    root: Branch, base: Branch, parameters: Sequence[Parameter], problems: list[Problem]
) -> Rules:
    """The rules in the sweep file `root`; what is wrong with them is appended to `problems`."""
    known = {parameter.key: parameter for parameter in parameters}
    groups = tuple(_groups(at(root, ("zip",)), known, problems))
    when = dict[str, Rule]()
    if (block := branch_at(root, ("when",))) is not None:
        for key, node in block.values.items():
            if key not in known:
                why = f"is no parameter{meant(key, list(known))}"
                problems.append(Problem(block.keys[key], f"when.{key}", why))
                continue
            for rule in _rule(node, f"when.{key}", problems):
                when[key] = rule
    exclude = list[Rule]()
    if isinstance(listed := at(root, ("exclude",)), Items):
        for index, node in enumerate(listed.items):
            exclude += _rule(node, dotted(("exclude", index)), problems)
    return Rules(base, groups, _in_order(when, problems), tuple(exclude))


def _rule(node: Node, where: str, problems: list[Problem]) -> Iterator[Rule]:
    """Nothing where it is no text, which the schema of a sweep says anyway."""
    if not isinstance(node, Leaf) or not isinstance(node.value, str):
        return
    try:
        yield Rule(parse(node.value), node.place, where)
    except ValueError as error:
        problems.append(Problem(node.place, where, str(error)))


def _groups(
    listed: Node | None, known: Mapping[str, Parameter], problems: list[Problem]
) -> Iterator[tuple[str, ...]]:
    taken = set[str]()
    for index, node in enumerate(listed.items if isinstance(listed, Items) else ()):
        if not isinstance(node, Items) or len(node.items) < 2:
            continue
        before = len(problems)
        keys = [plain(item) for item in node.items]
        for position, (key, item) in enumerate(zip(keys, node.items, strict=True)):
            if (why := _not_zipped(key, known, taken)) is not None:
                problems.append(Problem(item.place, dotted(("zip", index, position)), why))
            taken.add(str(key))
        if len(problems) > before:
            continue
        lengths = {key: len(known[key].values) for key in keys}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{key} has {count}" for key, count in lengths.items())
            why = f"wants equally many values for each key; {counts}"
            problems.append(Problem(node.place, dotted(("zip", index)), why))
            continue
        yield tuple(keys)


def _not_zipped(key: Any, known: Mapping[str, Parameter], taken: set[str]) -> str | None:
    if not isinstance(key, str) or key not in known:
        return f"{key} is no parameter{meant(str(key), list(known))}"
    if key in taken:
        return f"{key} is zipped already; name it once"
    if known[key].range is not None:
        return f"{key} is a range; only values advance together"
    return None


def _in_order(when: dict[str, Rule], problems: list[Problem]) -> dict[str, Rule]:
    """Each rule behind those whose keys it names; a circle is a problem."""
    ordered, left = dict[str, Rule](), dict(when)
    while left:
        free = [key for key, rule in left.items() if not any(_named(rule, k) for k in left)]
        if not free:
            for key, rule in left.items():
                others = ", ".join(k for k in left if _named(rule, k)) or key
                why = f"depends on {others}, which depends on {key} in turn; break the circle"
                why = f"decides on itself; name other keys than {key}" if others == key else why
                problems.append(Problem(rule.place, rule.where, why))
            return ordered
        ordered |= {key: left.pop(key) for key in free}
    return ordered


def _named(rule: Rule, key: str) -> bool:
    """Whether a rule names `key`, a part of it or a section around it."""
    return any(
        f"{n}.".startswith(f"{key}.") or f"{key}.".startswith(f"{n}.") for n in rule.expression.keys
    )
