"""The documents name what is there, and nothing that is not; the site builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
]
MADE = ("sweep_file.md", "experiment.md", "commands.md")
"""Pages of docs/reference that are made when the site is built, which checks links to them."""

in_each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_readme_names_every_sweep() -> None:
    for path in (ROOT / "sweeps").glob("*.yaml"):
        assert f"pg-sweep {path.stem}" in README


def test_the_architecture_names_every_room() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "pg_platform"
    for room in (path.parent.name for path in package.glob("*/__init__.py")):
        assert f"`{room}/`" in architecture, room


@in_each_document
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path = document.parent / target.partition("#")[0]
        made = path.parent.name == "reference" and path.name in MADE
        assert target.startswith(("https://", "#")) or made or path.is_file(), target


@in_each_document
def test_paths_in_prose_are_there(document: Path) -> None:
    """`pg_platform/game/loss.py`, or `game/loss.py` for short."""
    folders = {path.name for path in (ROOT / "pg_platform").iterdir() if path.is_dir()}
    folders |= {path.name for path in ROOT.iterdir() if path.is_dir()}
    for path in re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|yaml|md|json|lock))`", document.read_text()):
        if path.partition("/")[0] in folders:
            assert (ROOT / path).is_file() or (ROOT / "pg_platform" / path).is_file(), path


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="make docs installs what builds the site")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "reference" / "experiment.html").read_text()
    assert "speaker.vocab_size" in made or "vocab_size" in made
    assert (tmp_path / "reference" / "sweep_file.html").is_file()
    assert "knn" in (tmp_path / "evaluations.html").read_text()
