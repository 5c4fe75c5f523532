"""Expressions of sweep files: what they mean, and all that they refuse."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_platform.sweep.expressions import parse

VALUES: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 512,
    "optimizer.lr": 0.5,
    "optimizer.kind": "sgd",
    "compile": True,
    "views.crop": None,
}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("epochs == 3", True),
        ("epochs == 3.0 and compile", True),
        ("compile == 1", False),
        ("epochs != 3 or optimizer.kind == 'sgd'", True),
        ('optimizer.kind == "adamw"', False),
        ("epochs in [1, 3]", True),
        ("not epochs in [-3, 'x', null]", True),
        ("optimizer.kind in []", False),
        ("views.crop == null", True),
        ("true or false and false", True),
        ("(true or false) and false", False),
        ("not false and false", False),
        ("batch_size - 500 - 10 == 2", True),
        ("batch_size / 2 / 2 == 128", True),
        ("1 + epochs * 2 == 7", True),
        ("-epochs < -2", True),
        ("optimizer.lr * batch_size >= 256", True),
        ("views.crop != null and views.crop > 1", False),
    ],
)
def test_meaning(text: str, truth: bool) -> None:  # noqa: FBT001
    expression = parse(text)
    assert expression.holds({key: VALUES[key] for key in expression.keys}) is truth


def test_keys() -> None:
    assert parse("epochs > 1 and not compile").keys == {"epochs", "compile"}
    assert parse("'epochs' == 'compile'").keys == frozenset()


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("__import__('os')", 1, "unknown key '__import__'"),
        ("epochs.__class__", 1, "unknown key 'epochs.__class__'"),
        ("epochs == ().__class__", 13, "attributes are not read"),
        ("lambda", 1, "'lambda' is no word"),
        ("lambda: 1", 7, "':': no part"),
        ("9**9**9 > 1", 2, "powers are not read"),
        ("(" * 40 + "true" + ")" * 40, 22, "more than 20 levels"),
        ("not " * 21 + "true", 85, "more than 20 levels"),
        ("[x for x in [1]]", 1, "subscripts are not read"),
        ("epochs in [x for x in [1]]", 12, "unexpected 'x'"),
        ("f'{epochs}'", 1, "unknown key 'f'"),
        ("`id`", 1, "'`': no part"),
        ("epochs.bit_length()", 1, "unknown key"),
        ("epochs(1)", 7, "calls are not read"),
        ("epochs[0] == 1", 7, "subscripts are not read"),
        ("open('/etc/passwd')", 1, "unknown key 'open'"),
        ("epochs == 1; import os", 12, "';': no part"),
        ("(epochs := 3) > 1", 9, "':': no part"),
        ("'a'.upper() == 'A'", 4, "attributes are not read"),
        (r"optimizer.kind == '\x41'", 19, "a backslash"),
        ("1e999 > epochs", 1, "a finite number"),
        ("9" * 31 + " > epochs", 1, "at most 30 digits"),
        ("epochs == 1" + " or true" * 100, 501, "at most 500 characters, got 811"),
        ("epochs > 1\nor true", 11, "no part"),
        ("1 < epochs < 3", 12, "join comparisons with `and`"),
        ("epochs = 3", 8, "equality is written =="),
        ("epochs == None", 11, "write null"),
        ("epochs in (1, 2)", 11, "wants a list"),
        ("epochs in [batch_size]", 12, "unexpected 'batch_size'"),
        ("(epochs == 1", 13, r"'\)' is missing"),
        ("epochs == 'a", 11, "does not end"),
        ("", 1, "the expression ends"),
        ("seed == 1", 1, "a point has all seeds"),
        ("speaker.vocabsize > 1", 1, "did you mean 'speaker.vocab_size'"),
        ("epochs == 1 batch_size", 13, "join conditions"),
    ],
)
def test_refused(text: str, column: int, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^column {column}: .*{reason}"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("optimizer.kind > 3", "wants numbers, got 'sgd'"),
        ("compile + 1 == 2", "wants numbers, got true"),
        ("views.crop > 1", "got null; ask whether it is null first"),
        ("1 / (epochs - 3) == 1", "by zero"),
        ("epochs", "wants a comparison"),
        ("not epochs", "wants a comparison"),
        (f"{'9' * 30}{f'*{chr(57) * 30}' * 11} / 2.0 > 1", "too large"),
    ],
)
def test_neither_true_nor_false(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(text).holds(VALUES)


@given(
    numbers=st.tuples(*[st.integers(-99, 99)] * 4),
    signs=st.tuples(*[st.sampled_from(["+", "-", "*"])] * 2),
    comparison=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
)
def test_numbers_are_those_of_python(
    numbers: tuple[int, ...], signs: tuple[str, str], comparison: str
) -> None:
    a, b, c, d = numbers
    apply = {"+": operator.add, "-": operator.sub, "*": operator.mul}
    if signs[1] == "*" and signs[0] != "*":
        value = apply[signs[0]](a, b * c)
    else:
        value = apply[signs[1]](apply[signs[0]](a, b), c)
    compare = {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
    text = f"{a} {signs[0]} {b} {signs[1]} {c} {comparison} {d}"
    assert parse(text).holds({}) == compare[comparison](value, d)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_column(text: str) -> None:
    try:
        expression = parse(text)
    except ValueError as error:
        assert str(error).startswith("column ")  # noqa: PT017
    else:
        assert expression.text == text
