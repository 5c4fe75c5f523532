"""Bad files and bad overrides, each with the whole message that it gives.

`data/bad_experiments.txt` and `data/bad_sweeps.txt` are the tables: the file, perhaps `--set`
lines, then the message behind `> `; an empty line ends a case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pg_platform.config.paths import RECIPES
from pg_platform.config.section import ConfigError
from pg_platform.sweep.load import load_experiment, load_sweep

Load = Callable[[Path, Sequence[str]], Any]

WORDS = [
    *("epochs: 3", "epochs:", "speaker:", "data: {kind", "data:", "name: s", "parameters:"),
    *("optimizer.lr:", "{values: [1e-4]}", "{", "[", "]", "}", ",", ":", "'", '"', "&a", "*a"),
    *("!!x", "- ", "? ", "<<:", "|", "#", "3", "sgd", "null", "\n", "\n ", "\n  ", "\t", "---"),
]

PLACE = re.compile(r"(f\.yaml:[1-9]\d*:[1-9]\d*|--set \S+): \S")


def table(name: str, load: Load) -> list[Any]:
    text = (Path(__file__).parent / "data" / name).read_text()
    cases = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        sets = [line.removeprefix("--set ") for line in lines if line.startswith("--set ")]
        problems = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
        file = [line for line in lines if not line.startswith(("--set ", "> "))]
        name = " ".join(line.strip() for line in lines[:-1])
        cases.append(pytest.param(load, "\n".join(file) + "\n", sets, problems, id=name))
    return cases


def problems_of(load: Load, path: Path) -> list[str] | None:
    try:
        load(path, [])
    except ConfigError as error:
        return error.problems
    return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("load", "text", "sets", "problems"),
    table("bad_experiments.txt", load_experiment) + table("bad_sweeps.txt", load_sweep),
)
@pytest.mark.usefixtures("folder")
def test_message(load: Load, text: str, sets: list[str], problems: list[str]) -> None:
    Path("f.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load(Path("f.yaml"), sets)
    assert error.value.problems == [p.replace("RECIPES", str(RECIPES)) for p in problems]
    assert str(error.value) == "\n".join(error.value.problems)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "f.yaml:1:1: the file is empty; write {} for no differences"),
        (b"epochs: 3\nname: \xe9\xff\n", "f.yaml:2:7: not UTF-8 text; save the file as UTF-8"),
        ("epochs: 3\n".encode("utf-16"), "f.yaml:1:1: not UTF-8 text; save the file as UTF-8"),
        (b"speaker:\n\thidden: 3\n", "f.yaml:2:1: not valid YAML: a tab; indent with spaces"),
        (b"epochs: 3\nseed: 1\x07\n", "f.yaml:2:8: not valid YAML: control character U+0007"),
        (b"\xef\xbb\xbfepochs: 3.0\r\nseed: 1\r\n", None),
        (b"epochs: " + b"[" * 200 + b"]" * 200, "f.yaml:1:41: more than 32 levels of nesting"),
        (b"epochs: " + b"9" * 5000, None),
    ],
)
@pytest.mark.usefixtures("folder")
def test_file_that_is_hardly_yaml(content: bytes, problem: str | None) -> None:
    Path("f.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_experiment(Path("f.yaml"), [])
    assert len(error.value.problems) == 1
    line = error.value.problems[0]
    assert line == problem if problem else line.startswith("f.yaml:1:9: epochs: wants a whole num")


def test_no_file(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^none\.yaml: cannot be read: no such file"):
        load_experiment(Path("none.yaml"), [])
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load_sweep(folder, [])


def test_a_grid_too_large_to_check(folder: Path) -> None:
    file = folder / "f.yaml"
    values = ", ".join(str(n) for n in range(2, 1002))
    file.write_text(
        "name: large\nparameters:\n"
        f"  speaker.vocab_size: {{values: [{values}]}}\n  epochs: {{values: [{values}]}}\n"
    )
    with pytest.raises(ConfigError, match="parameters: wants at most 100000 points, got 1000000"):
        load_sweep(file, [])


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.lists(st.sampled_from(WORDS), max_size=12))
@pytest.mark.parametrize("load", [load_experiment, load_sweep])
def test_any_text_loads_or_says_where_it_is_wrong(
    load: Load, words: list[str], folder: Path
) -> None:
    (folder / "f.yaml").write_text(" ".join(words))
    problems = problems_of(load, Path("f.yaml"))
    assert problems is None or problems
    assert all(PLACE.match(line) for line in problems or [])
