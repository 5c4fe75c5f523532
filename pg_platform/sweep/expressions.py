"""Conditions over the keys of an experiment: `speaker.vocab_size > 64 and batch_size == 512`.

The grammar, loosest first. Nothing else is read: no calls, powers, subscripts or names beside keys.

    either     = both {"or" both}
    both       = negated {"and" negated}
    negated    = "not" negated | comparison
    comparison = sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum | "in" list]
    sum        = product {("+" | "-") product}
    product    = signed {("*" | "/") signed}
    signed     = "-" signed | literal | key | "(" either ")"
    list       = "[" [literal {"," literal}] "]"
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from pg_platform.config.errors import closest
from pg_platform.config.experiment import Experiment, is_option
from pg_platform.config.paths import is_whole, path_keys
from pg_platform.config.validation import dotted_keys

LONGEST = 500
"""Characters that an expression may have."""
DEEPEST = 20
"""Levels of parentheses, `not` and signs."""
MOST_DIGITS = 30

Values = Mapping[str, Any]
Term = Callable[[Values], Any]


@dataclass(frozen=True)
class Expression:
    """A condition; equal to those of equal text."""

    text: str
    keys: frozenset[str]
    """The dotted keys that it names."""
    _term: Term

    def holds(self, values: Values) -> bool:
        """Whether it is true where each of `keys` has its value in `values`.

        Raises ValueError where it is neither true nor false, such as an order of texts.
        """
        return _truth(self._term(values))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def parse(text: str) -> Expression:
    """The expression that `text` is; ValueError with the column of what cannot be read."""
    if len(text) > LONGEST:
        raise ValueError(
            f"column {LONGEST + 1}: wants at most {LONGEST} characters, got {len(text)}"
        )
    parser = _Parser(_tokens(text))
    term = parser.either()
    if parser.token.kind != "end":
        parser.refuse()
    return Expression(text, frozenset(parser.keys), term)


class _Token(NamedTuple):
    kind: str
    """number, text, name, mark or end"""
    text: str
    column: int


_WORDS = {"and", "or", "not", "in", "true", "false", "null"}
_FOREIGN = {
    "lambda",
    "for",
    "if",
    "else",
    "is",
    "import",
    "await",
    "yield",
    "True",
    "False",
    "None",
}
_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*)"
    r"|(?P<mark>\*\*|==|!=|<=|>=|[-+*/<>()\[\],])"
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_NOT_READ = {
    "**": "powers are not read; write the number",
    "(": "calls are not read; compare keys and literals",
    "[": "subscripts are not read; a list stands behind `in`",
    ",": "a comma stands only in a list behind `in`",
}
_STRAY = {
    "=": "equality is written ==",
    "'": "a text that does not end, or has a backslash",
    '"': "a text that does not end, or has a backslash",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not` or `!=`",
    ".": "attributes are not read; write the whole dotted key",
}


def _tokens(text: str) -> list[_Token]:
    tokens, position = list[_Token](), 0
    while (rest := text[position:]).strip(" "):
        position += len(rest) - len(rest.lstrip(" "))
        found = _TOKEN.match(text, position)
        if found is None:
            stray = text[position]
            why = _STRAY.get(stray, "no part of an expression; leave it out")
            raise ValueError(f"column {position + 1}: {stray!r}: {why}")
        tokens.append(_Token(str(found.lastgroup), found[0], position + 1))
        position = found.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


class _Parser:
    """Goes down the grammar of this file's docstring, a method a rule."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.keys: set[str] = set()
        self.compared: set[int] = set()
        """Positions of tokens in comparisons that were read, which may stand inside another."""

    @property
    def token(self) -> _Token:
        """The next one."""
        return self.tokens[self.position]

    def either(self) -> Term:
        """Terms joined by `or`."""
        return self._joined("or", self._both)

    def refuse(self) -> NoReturn:
        """Raise ValueError with the reason why the next token cannot stand where it does."""
        kind, text, column = self.token
        if kind == "end":
            _refuse(column, "the expression ends where a key or a value is wanted")
        if text in _FOREIGN:
            literal = text.lower().replace("none", "null")
            hint = f"write {literal}" if literal in _LITERALS else "leave it out"
            _refuse(column, f"{text!r} is no word of an expression; {hint}")
        if text in ("==", "!=", *_COMPARISONS, "in") and self.position:
            _refuse(column, f"a second comparison, {text!r}; join comparisons with `and`")
        _refuse(
            column, _NOT_READ.get(text, f"unexpected {text!r}; join conditions with `and`, `or`")
        )

    def _take(self, *texts: str) -> str | None:
        """The next token if it is one of these words or marks, and go on behind it."""
        token = self.token
        if token.kind not in ("name", "mark") or token.text not in texts:
            return None
        self.position += 1
        return token.text

    def _joined(self, word: str, part: Callable[[], Term]) -> Term:
        terms = [part()]
        while self._take(word):
            terms.append(part())
        if len(terms) == 1:
            return terms[0]
        decide = any if word == "or" else all
        return lambda values: decide(_truth(term(values)) for term in terms)

    def _both(self) -> Term:
        return self._joined("and", self._negated)

    def _negated(self) -> Term:
        if self._take("not"):
            term = self._deeper(self._negated)
            return lambda values: not _truth(term(values))
        return self._comparison()

    def _comparison(self) -> Term:
        start = self.position
        left = self._sum()
        end = self.position
        term = self._compared(left)
        if self.position > end:
            self._refuse_relative(range(start, self.position))
        return term

    def _refuse_relative(self, comparison: range) -> None:
        """A path of a point is absolute, so that it would never equal one that is not."""
        own = [self.tokens[at] for at in comparison if at not in self.compared]
        self.compared.update(comparison)
        keys = [token.text for token in own if token.text in path_keys(Experiment)]
        for kind, text, column in own if keys else ():
            if kind == "text" and not is_whole(text[1:-1]):
                _refuse(column, f"{keys[0]} is absolute once it is read; write a path from / on")

    def _compared(self, left: Term) -> Term:
        if self._take("in"):
            choices = self._list()
            return lambda values: any(_equal(left(values), choice) for choice in choices)
        if (sign := self._take("==", "!=")) is not None:
            right, wanted = self._sum(), sign == "=="
            return lambda values: _equal(left(values), right(values)) == wanted
        if (sign := self._take(*_COMPARISONS)) is None:
            return left
        return _of_numbers(sign, _COMPARISONS[sign], left, self._sum())

    def _sum(self) -> Term:
        return self._calculated(("+", "-"), self._product)

    def _product(self) -> Term:
        return self._calculated(("*", "/"), self._signed)

    def _calculated(self, signs: tuple[str, ...], part: Callable[[], Term]) -> Term:
        term = part()
        while (sign := self._take(*signs)) is not None:
            term = _of_numbers(sign, _ARITHMETIC[sign], term, part())
        return term

    def _signed(self) -> Term:
        if self._take("-"):
            return _of_numbers("-", operator.sub, lambda _: 0, self._deeper(self._signed))
        if self._take("("):
            term = self._deeper(self.either)
            if not self._take(")"):
                _refuse(self.token.column, "')' is missing")
            return term
        token = self.token
        if token.kind == "name" and token.text not in _WORDS | _FOREIGN:
            return self._key()
        literal = self._literal()
        return lambda _: literal

    def _deeper(self, part: Callable[[], Term]) -> Term:
        self.depth += 1
        if self.depth > DEEPEST:
            _refuse(self.token.column, f"more than {DEEPEST} levels of nesting; write it flatter")
        term = part()
        self.depth -= 1
        return term

    def _list(self) -> list[Any]:
        if not self._take("["):
            _refuse(self.token.column, "wants a list behind `in`, such as [1, 2]")
        choices: list[Any] = []
        while not self._take("]"):
            if choices and not self._take(","):
                _refuse(self.token.column, "a list of literals wants ',' or ']'")
            choices.append(self._literal())
        return choices

    def _literal(self) -> Any:
        negative = self._take("-") is not None
        token = self.token
        if token.kind == "number":
            self.position += 1
            return -_number(token) if negative else _number(token)
        if negative or not (token.kind == "text" or token.text in _LITERALS):
            self.refuse()
        self.position += 1
        return token.text[1:-1] if token.kind == "text" else _LITERALS[token.text]

    def _key(self) -> Term:
        _, key, column = self.token
        self.position += 1
        known = [name for name in dotted_keys(Experiment) if name != "seed"]
        if key == "seed":
            _refuse(column, "a point has all seeds, so 'seed' decides nothing; leave it out")
        if key not in known and not is_option(key):
            near = closest(key, known)
            remedy = f"did you mean '{near}'?" if near else "write a dotted key of an experiment"
            _refuse(column, f"unknown key '{key}'; {remedy}")
        if self.token.text == "(" and self.token.kind == "mark":
            self.refuse()
        self.keys.add(key)
        return lambda values: values[key]


def _refuse(column: int, why: str) -> NoReturn:
    raise ValueError(f"column {column}: {why}")


def _number(token: _Token) -> float:
    whole = token.text.isdigit()
    if whole and len(token.text) > MOST_DIGITS:
        _refuse(token.column, f"wants numbers of at most {MOST_DIGITS} digits")
    value = int(token.text) if whole else float(token.text)
    if not math.isfinite(value):
        _refuse(token.column, f"wants a finite number, got {token.text}")
    return value


def _of_numbers(sign: str, operation: Callable[[Any, Any], Any], left: Term, right: Term) -> Term:
    def term(values: Values) -> Any:
        a, b = left(values), right(values)
        for value in (a, b):
            if isinstance(value, bool) or not isinstance(value, int | float):
                remedy = "; ask whether it is null first" if value is None else ""
                raise ValueError(f"{sign} wants numbers, got {_shown(value)}{remedy}")
        if sign == "/" and b == 0:
            raise ValueError(f"division of {a} by zero")
        try:
            return operation(a, b)
        except OverflowError:
            raise ValueError(f"{sign} of numbers too large for a result") from None

    return term


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"wants a comparison, or a key that is true or false, got {_shown(value)}")
    return value


def _equal(a: Any, b: Any) -> bool:
    """Equal as values of YAML are: 1 and 1.0, but not 1 and true."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _shown(value: Any) -> str:
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() | float() | str():
            return repr(value)
    return "a section or list"
