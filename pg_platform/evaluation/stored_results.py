"""What an evaluation found: how it is kept with its run, found again, and told in the terminal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pg_platform.config.section import Section
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.plots.style import drawn, thumbnail
from pg_platform.report.statistics import told
from pg_platform.store.store import Store


def result_key(
    name: str, options: Section, checkpoints: Sequence[Path], source: str | None = None
) -> str:
    """The file in which a run holds what `name` found with these options on these checkpoints.

    Where an option names a file, its content counts too. `source` is that of an evaluation from
    outside the package.
    """
    alone = len(checkpoints) == 1
    those = [path.name if alone else f"{path.parent.name}/{path.name}" for path in checkpoints]
    given = options.model_dump(mode="json")
    files = [value for value in given.values() if isinstance(value, str) and Path(value).is_file()]
    own = [] if source is None else [source]
    asked = json.dumps([given, *those, *map(_content, files), *own], sort_keys=True)
    return f"{name}/result-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"


def _content(file: str) -> str:
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sweep_of(store: Store, run_ids: Sequence[str | None]) -> str | None:
    """The run of the sweep that all these trials belong to; None where there is no such one."""
    members = set(run_ids)
    for sweep in store.sweeps():
        if members <= {trial.run_id for trial in store.trials(sweep.run_id)}:
            return sweep.run_id
    return None


def kept(  # noqa: PLR0913 - whose it is, and under which names
    store: Store, run_id: str | None, name: str, label: str, measured: EvaluationResult, key: str
) -> str:
    """The lines that are shown of a result, once it is stored."""
    if run_id is not None:
        _keep(store, run_id, name, measured)
        store.put_text(run_id, _newest(name), key)
        found = {"metrics": dict(measured.metrics), "words": measured.words}
        store.put_text(run_id, key, json.dumps(found))
    note = "" if run_id else "this store has no run for it: not stored"
    return _told(name, label, metrics=measured.metrics, words=measured.words, note=note)


def known(store: Store, run_id: str, name: str, key: str) -> str | None:
    """The content of the file `key`, where nothing was found since with other options.

    Tables, figures and metrics of equal names are those of the newest result.
    """
    return store.find_text(run_id, key) if store.find_text(run_id, _newest(name)) == key else None


def _newest(name: str) -> str:
    return f"{name}/newest.txt"


def told_again(name: str, label: str, found: str) -> str:
    """The lines of a result that a run holds, from the content of its file."""
    return _told(name, label, note="computed before", **json.loads(found))


def _told(name: str, label: str, *, metrics: Mapping[str, float], words: str, note: str) -> str:
    """A line that says whose result it is, one for each metric, and the words."""
    heading = f"{label}  {name}{f'  ({note})' if note else ''}"
    rows = list(_rows(metrics))
    width = max((len(metric) for metric, _ in rows), default=0)
    lines = [f"{metric.removeprefix(f'{name}/'):<{width - len(name)}}{v}" for metric, v in rows]
    return "\n    ".join([heading, *lines, *words.splitlines()])


_COMPANIONS = {"_low": "_high", "_high": "_low", "_null_mean": "_null_p", "_null_p": "_null_mean"}
"""What stands beside another metric, and what is always there with it."""


def _rows(metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Each metric with what is known of it: its interval and its null."""
    for metric, value in metrics.items():
        if any(
            metric.endswith(end) and f"{metric.removesuffix(end)}{whole}" in metrics
            for end, whole in _COMPANIONS.items()
        ):
            continue
        shown = f"{value:10.4f}"
        if f"{metric}_low" in metrics:
            shown += f"  [{metrics[f'{metric}_low']:.4f}, {metrics[f'{metric}_high']:.4f}]"
        if f"{metric}_null_p" in metrics:
            mean, p = metrics[f"{metric}_null_mean"], metrics[f"{metric}_null_p"]
            shown += f"  by chance {mean:.4f}, p {told(p)}"
        yield metric, shown


def _keep(store: Store, run_id: str, name: str, measured: EvaluationResult) -> None:
    """Everything found goes to the run: files below the folder named as the evaluation."""
    store.put_evaluation(run_id, measured.metrics)
    for path, table in measured.tables.items():
        store.put_table(run_id, f"{name}/{path}", table)
    for path, figure in measured.figures.items():
        for suffix, content in drawn(figure).items():
            store.put_bytes(run_id, f"{name}/{path}.{suffix}", content)
            if suffix == "png":
                store.put_image(run_id, f"{name}/{path}", content, thumbnail(content))
    for path, content in measured.files.items():
        store.put_bytes(run_id, f"{name}/{path}", content)
    if measured.words:
        store.put_text(run_id, f"{name}/words.md", measured.words + "\n")
