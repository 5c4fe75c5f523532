"""The pages of the site that are not files in docs/: made from the code each time it is built.

MkDocs calls the functions named on_*. What is made here cannot go stale.
"""

from __future__ import annotations

import importlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click
import griffe
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.structure.files import File

from pg_platform.config.experiment import Experiment
from pg_platform.sweep.json_schema import sweep_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files outside docs/, where readers of the repository look for them, that are pages too."""
COMMANDS = {
    "pg-sweep": "sweep",
    "pg-train": "train",
    "pg-report": "report",
    "pg-eval": "evaluate",
    "pg-ui": "ui",
    "pg-pack": "pack",
}
"""Each command and the name of its file in pg_platform/cli, which is that of its function."""

EXPERIMENT = """# Experiments

Every key of one run, with its default. A file states only what differs from its `recipe`, and a
recipe only what differs from the values here; `pg-train --show-recipe official --against paper`
prints how two recipes differ. In `--set` and in the `parameters` of a sweep a key is written with
dots: `speaker.vocab_size`. A key in **bold** must be given.
"""
SWEEP_FILE = """# Sweep files

Every key that a sweep file may have; a key in **bold** must be given. `experiment` holds what all
points share: the keys of [an experiment](experiment.md) except `seed` and `resources`, which are
`seeds` and `resources` at the top of a sweep. [Sweeps](../sweeps.md) says how one is run and
reported. `pg_platform/config/sweep.schema.json` holds the same for editors.
"""

Schema = Mapping[str, Any]


class Doctests(Extension, Preprocessor):
    """Examples of docstrings, from `>>>` to the next empty line, as blocks of code."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the name is Markdown's
        """Run before fences of code are read."""
        md.preprocessors.register(self, "doctests", 40)

    def run(self, lines: list[str]) -> list[str]:
        """All lines, with fences around the examples."""
        text = "\n".join(lines)
        return re.sub(r"(?m)^(>>> (?:.+\n?)+)", r"```pycon\n\1\n```\n", text).split("\n")


def on_config(config: Any) -> Any:
    """Let pages have the examples of docstrings."""
    config.markdown_extensions.append(Doctests())
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    schema = sweep_schema()
    del schema["properties"]["experiment"]
    made = {
        "reference/sweep_file.md": [SWEEP_FILE, *section("SweepFile", "", schema, schema["$defs"])],
        "reference/experiment.md": [EXPERIMENT, *experiment_sections()],
        "reference/commands.md": commands(),
        **{page: [(ROOT / file).read_text()] for file, page in PAGES.items()},
    }
    for uri, lines in made.items():
        files.append(File.generated(config, uri, content="\n".join(lines)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """List the evaluations; links between files of the repository lead to their pages."""
    uri = page.file.src_uri
    if uri == "evaluations.md":
        markdown += "\n" + "\n".join(evaluations())
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", lambda link: _link(uri, link), markdown)


def _link(uri: str, link: re.Match[str]) -> str:
    """A link of the page `uri` as the site has it; of a file without a page only the text."""
    image, text, target = link.groups()
    path, _, anchor = target.partition("#")
    if not path or "://" in path:
        return link[0]
    source = next((file for file, page in PAGES.items() if page == uri), f"docs/{uri}")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if not file.startswith("docs/") and file not in PAGES:
        return text if (ROOT / file).exists() else link[0]
    page = PAGES.get(file, file.removeprefix("docs/"))
    page = posixpath.relpath(page, posixpath.dirname(uri) or ".")
    return f"{image}[{text}]({page}{'#' if anchor else ''}{anchor})"


def experiment_sections() -> Iterator[str]:
    """All keys of an experiment, from its pydantic sections."""
    schema = Experiment.model_json_schema()
    return section("Experiment", "", schema, schema["$defs"])


def section(name: str, path: str, schema: Schema, sections: Schema) -> Iterator[str]:
    """The section `name` at the dotted `path` of a file: its docstring, its keys, its parts."""
    if name != "SweepFile":
        yield from ("", schema.get("description", ""), "")
    required = schema.get("required", ())
    keys = {key: value for key, value in schema["properties"].items() if key != "kind"}
    rows = []
    for key, value in keys.items():
        shown = f"**`{key}`**" if key in required else f"`{key}`"
        linked = f"[{shown}](#{_anchor(path, key)})" if _parts(value) else shown
        default = f"`{json.dumps(value['default'])}`" if "default" in value else ""
        said = _said(name, key) or _summary(_parts(value), sections)
        rows.append((linked, _type(value), "" if _parts(value) else default, said))
    yield from _table(("key", "type", "default", "meaning"), rows)
    for key, value in keys.items():
        if parts := _parts(value):
            at = f"{path}.{key}" if path else key
            level = "#" * min(at.count(".") + 2, 4)
            yield from ("", f"{level} `{at}` {{#{_anchor(path, key)}}}", "")
            yield from _chosen(parts, at, value, sections)


def _chosen(parts: Sequence[str], path: str, value: Schema, sections: Schema) -> Iterator[str]:
    """The one section that is at `path`, or each of those that may be, by its `kind`."""
    if len(parts) > 1:
        default = value.get("default", {}).get("kind")
        yield f"One of {len(parts)}, chosen by `{path}.kind`."
        yield f" The default is `{default}`." if default else ""
    for name in parts:
        if len(parts) > 1:
            yield from ("", f"**`kind: {sections[name]['properties']['kind']['const']}`**")
        yield from section(name, path, sections[name], sections)


def _summary(parts: Sequence[str], sections: Schema) -> str:
    """What a section is, in the first paragraph of its docstring; of several, their kinds."""
    if len(parts) > 1:
        kinds = (sections[part]["properties"]["kind"]["const"] for part in parts)
        return f"By `kind`: {', '.join(f'`{kind}`' for kind in kinds)}."
    texts = (sections[part].get("description", "").split("\n\n")[0] for part in parts)
    return " ".join("".join(texts).split())


def _parts(value: Schema) -> list[str]:
    """The names of the sections that a value may be, or that its own values may be."""
    options = [value, *value.get("anyOf", ()), *value.get("oneOf", ())]
    inner = [option.get("additionalProperties") for option in options]
    found = [*options, *(each for each in inner if isinstance(each, dict))]
    return [each["$ref"].rpartition("/")[2] for each in found if "$ref" in each]


def _type(value: Schema) -> str:
    """A type in words: `integer > 0`, `number or null`, `list of text`."""
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(option) for option in value["anyOf"]))
    if "oneOf" in value or "$ref" in value:
        return "section"
    if "const" in value or "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    match value.get("type"):
        case "array":
            items: Schema = value.get("items") or next(iter(value.get("prefixItems", ())), {})
            return f"{value.get('maxItems', 'list')} of {_type(items)}"
        case "object":
            inner = value.get("additionalProperties")
            return f"names with {_type(inner if isinstance(inner, dict) else {})}"
        case "string":
            return "duration such as `30m`" if "smhd" in value.get("pattern", "") else "text"
        case "boolean":
            return "`true`, `false`"
        case None:
            return "any value"
        case kind:
            return f"{kind}{_bounds(value)}"


def _bounds(value: Schema) -> str:
    """` > 0, <= 1` of a number."""
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value]
    return f" {', '.join(bounds)}" if bounds else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table without the columns that are empty; nothing where there is no row."""
    used = [i for i, _ in enumerate(head) if any(row[i] for row in rows)]
    if rows:
        for line in (head, ["---"] * len(head), *rows):
            yield f"| {' | '.join(line[i] for i in used)} |"


def _anchor(*path: str) -> str:
    return "-".join(path).strip("-").replace(".", "-").replace("_", "-")


@cache
def _package(name: str) -> Any:
    """A package of the repository as griffe reads it, without importing it."""
    return griffe.load(name, search_paths=[ROOT])


def _said(name: str, key: str) -> str:
    """What stands below the attribute `key` of the section `name`, in one line."""
    for module in ("sweep.schema", "config.experiment"):
        declared = _package("pg_platform")[module].classes.get(name)
        if declared and (docstring := declared.attributes[key].docstring):
            return " ".join(docstring.value.split()).replace("|", "\\|")
        if declared:
            break
    return ""


def evaluations() -> Iterator[str]:
    """What each file of evals/ says of itself, and its options."""
    names = sorted(file.stem for file in (ROOT / "evals").glob("[a-z]*.py"))
    modules = {name: importlib.import_module(f"evals.{name}") for name in names}
    said = {name: module.__doc__ or "" for name, module in modules.items()}
    rows = [
        (f"[`{name}`](#{_anchor(name)})", " ".join(text.split("\n\n")[0].split()))
        for name, text in said.items()
    ]
    yield from _table(("name", "what it measures"), rows)
    for name, module in modules.items():
        schema = module.Options.model_json_schema()
        yield from ("", f"### `{name}` {{#{_anchor(name)}}}", "", said[name], "")
        yield from section("Options", "", schema, schema.get("$defs", {}))


def commands() -> Iterator[str]:
    """What `--help` prints of each command."""
    yield from ("# Commands", "", "What each command prints with `--help`.")
    for name, module in COMMANDS.items():
        command = getattr(importlib.import_module(f"pg_platform.cli.{module}"), module)
        context = click.Context(command, info_name=name, terminal_width=88, max_content_width=88)
        with context:
            yield from ("", f"## {name}", "", "```text", command.get_help(context), "```")
