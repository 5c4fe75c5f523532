"""The JSON Schema of sweep files, for editors: `python -m pg_platform.sweep.json_schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pg_platform.config.experiment import Experiment
from pg_platform.config.paths import recipe_names
from pg_platform.sweep.schema import SweepFile

SHIPPED = Path(__file__).parents[1] / "config" / "sweep.schema.json"
OF_AN_EXPERIMENT = "Experiment"


def sweep_schema() -> dict[str, Any]:
    """All keys of a sweep file and of the experiment in it, with types, defaults and docs."""
    schema = SweepFile.model_json_schema()
    experiment = Experiment.model_json_schema()
    schema["$defs"] |= experiment.pop("$defs")
    for key in ("seed", "resources"):
        del experiment["properties"][key]
    schema["$defs"][OF_AN_EXPERIMENT] = experiment
    properties = schema["properties"]
    properties["experiment"] = {"$ref": f"#/$defs/{OF_AN_EXPERIMENT}"}
    properties["recipe"] = {"enum": recipe_names(), "default": properties["recipe"]["default"]}
    properties["seeds"] = {"anyOf": [{"type": "integer", "minimum": 1}, properties["seeds"]]}
    for place in (properties["stall_after"], schema["$defs"]["Budget"]["properties"]["wall_clock"]):
        _as_text(place)
    schema["$defs"]["Metric"]["required"] = []
    schema["required"] = ["name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def written() -> str:
    """The text of the file that ships."""
    return json.dumps(sweep_schema(), indent=1, sort_keys=True) + "\n"


def _as_text(place: dict[str, Any]) -> None:
    """A duration is read from text, such as 30m."""
    place.pop("exclusiveMinimum", None)
    place.pop("type", None)
    place.pop("anyOf", None)
    place.pop("default", None)
    place |= {"type": "string", "pattern": r"^\d+(\.\d+)?[smhd]$"}


if __name__ == "__main__":
    SHIPPED.write_text(written())
