"""The notebook of examples/ runs from its first cell to its last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.small import environment

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "notebook.ipynb"
CELLS = "import json, sys; scope = {}; [exec(cell, scope) for cell in json.load(sys.stdin)]"


def test_the_notebook_runs_without_ray_and_draws_the_messages(tmp_path: Path) -> None:
    """Its cells of code in their order, in a process without a file of its own, as a kernel is."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert sum('"epochs": 10' in cell for cell in code) == 1
    code = [cell.replace('"epochs": 10', '"epochs": 1') for cell in code]
    last = "import sys; print({'ray'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", CELLS],
        input=json.dumps([*code, last]),
        cwd=tmp_path,
        env=environment(tmp_path / "unused"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    assert "[6/6]" in done.stdout
    with Image.open(tmp_path / "notebook_results" / "messages.png") as drawn:
        assert drawn.width > drawn.height > 300
    assert not (tmp_path / "unused").exists()


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
