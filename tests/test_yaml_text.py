"""YAML 1.2 scalars, and texts that read as what was written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_platform.config.errors import ConfigError, Place
from pg_platform.config.yaml_tree import Branch, Items, Leaf, Node, compose, dump, plain

NOWHERE = Place("text", 1, 1)


def parsed(text: str) -> Any:
    node = compose(text, NOWHERE, [])
    return None if node is None else plain(node)


def tree(data: Any) -> Node:
    match data:
        case dict():
            keys = dict.fromkeys(data, NOWHERE)
            return Branch(NOWHERE, keys, {key: tree(inner) for key, inner in data.items()})
        case tuple():
            return Items(NOWHERE, tuple(tree(item) for item in data))
    return Leaf(NOWHERE, "", data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("1E4", 1e4),
        ("+1.5e3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("010", 10),
        ("-7", -7),
        ("true", True),
        ("False", False),
        ("~", None),
        ("yes", "yes"),
        ("on", "on"),
        ("n", "n"),
        ("12:30:45", "12:30:45"),
        ("2021-01-01", "2021-01-01"),
        ("1_000", "1_000"),
        ("0o17", "0o17"),
        ("1e", "1e"),
        ("'1e-4'", "1e-4"),
        ('"true"', "true"),
        ("|\n  3", "3"),
    ],
)
def test_scalars_of_yaml_1_2(text: str, expected: object) -> None:
    value = parsed(f"key: {text}")["key"]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("value", "column"), [(r'"what\ud800"', 6), (r'["a", "\udcff"]', 12), (r'{"\udfff": 1}', 7)]
)
def test_half_a_character_is_refused_in_its_place(value: str, column: int) -> None:
    with pytest.raises(ConfigError, match=rf"text:2:{column}: U\+D[0-9A-F]{{3}} in the text"):
        parsed(f"name: x\nkey: {value}")


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text().filter(lambda key: key != "<<")


@settings(deadline=None, max_examples=60)
@given(
    st.recursive(
        scalars | st.sampled_from(["1e-4", "on", "null", "0", ".inf", ""]),
        lambda inner: st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
        max_leaves=8,
    )
)
def test_a_dump_reads_as_what_was_dumped(data: Any) -> None:
    assert parsed(dump(tree({"key": data}))) == {"key": data}
