"""The documents name what is there, and nothing that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def tree(document: str) -> str:
    """The block with one line per file."""
    (block,) = re.findall(r"^```\n(pg_platform/\n.*?)^```", document, re.DOTALL | re.MULTILINE)
    return str(block)


def listed(block: str) -> set[str]:
    """The files of the block, with their folders."""
    folders: dict[int, str] = {}
    files = set()
    for line in block.splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        path = folders[depth - 1] + name if depth else name
        if name.endswith("/"):
            folders[depth] = path
        else:
            files.add(path)
    return files


def test_the_tree_has_a_line_for_every_file_of_the_code() -> None:
    code = {
        str(path.relative_to(ROOT))
        for folder in ("pg_platform", "evals")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    named = listed(tree(ARCHITECTURE))
    assert {path for path in named if path.endswith(".py")} == code
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_readme_shows_the_same_tree() -> None:
    assert tree(README) == tree(ARCHITECTURE)


def test_the_readme_names_every_sweep() -> None:
    for path in (ROOT / "sweeps").glob("*.yaml"):
        assert f"pg-sweep {path.stem}" in README


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    for target in targets:
        assert target.startswith("https://") or (document.parent / target).is_file(), target
