"""Messages in the layout of the Emergent Language Corpus Collection (Boldt and Mortensen 2024).

    systems/NAME/metadata.yml           where the system comes from and what kind of game it is
    systems/NAME/system.json            the same as JSON
    systems/NAME/data/VARIANT/corpus.jsonl     a message a line, as a list of integers
    systems/NAME/data/VARIANT/metadata.json    what is known of the corpus

The folders and the keys of metadata.yml are those of the collection at its commit b3c660d. What it
has in a corpus' metadata.json was not to be seen: the keys there are our own. XferBench reads
corpus.jsonl.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from pg_platform.config.experiment import Experiment

CORPUS, FACTS = "corpus.jsonl", "metadata.json"
_PAPER = "https://kampta.github.io/patch-game"
_SOURCE = f"pg_platform {version('pg_platform')}"

Files = dict[str, bytes]
"""Contents by path below the collection's folder."""


def system_name(experiment: Experiment) -> str:
    """A system has one source of data: generated shapes are another one than photos."""
    return "patchgame-shapes" if experiment.data.kind == "shapes" else "patchgame"


def variant_name(experiment: Experiment, checkpoint: Path, split: str) -> str:
    """What tells the corpus of a checkpoint about a split from others, as a folder's name."""
    speaker = experiment.speaker
    shape = f"V{speaker.vocab_size}_l{speaker.symbols_per_patch}_K{experiment.patches}"
    which = f"seed{experiment.seed}_{checkpoint.parent.name[:12]}_{checkpoint.name}"
    return f"{experiment.data.kind}_{split}_{shape}_{which}"


def variant_files(
    experiment: Experiment,
    variant: str,
    messages: Iterable[list[int]],
    facts: Mapping[str, Any],
) -> Files:
    """The corpus of one variant and what is known of it."""
    folder = f"systems/{system_name(experiment)}/data/{variant}"
    corpus = "".join(json.dumps(message) + "\n" for message in messages)
    told = json.dumps({"config": _config(experiment), **facts}, indent=2)
    return {f"{folder}/{CORPUS}": corpus.encode(), f"{folder}/{FACTS}": told.encode()}


def system_files(experiment: Experiment, variants: Mapping[str, Mapping[str, Any]]) -> Files:
    """The two files of a system that has these variants, each with its configuration."""
    name = system_name(experiment)
    system = {
        "origin": {"name": name, "source": _SOURCE, "upstream_source": _PAPER, "paper": _PAPER},
        "system": {
            "game_type": "signalling",
            "game_subtype": "discrimination",
            "data_source": "synthetic" if name.endswith("shapes") else "natural",
            "observation_continuous": True,
            "observation_type": "image",
            "seeding_available": True,
            "multi_step": False,
            "multi_utterance": False,
            "more_than_2_agents": False,
            "symmetric_agents": False,
            "variants": {key: dict(variants[key]) for key in sorted(variants)},
        },
    }
    folder = f"systems/{name}"
    return {
        f"{folder}/metadata.yml": yaml.safe_dump(system, sort_keys=False).encode(),
        f"{folder}/system.json": json.dumps(system, indent=2).encode(),
    }


def single(experiment: Experiment, variant: str) -> Files:
    """The files of a system that has one variant."""
    return system_files(experiment, {variant: _config(experiment)})


def put_into(folder: Path, files: Files, experiment: Experiment, variant: str) -> None:
    """Write a variant's files into a collection, and its system's for all variants there.

    Several processes may write into one collection. A variant that is there is written over: its
    name has the checkpoint in it. Raises ValueError, and writes nothing, where another program's
    variant lies there.
    """
    with _locked(folder):
        there = _variants(folder, system_name(experiment)) | {variant: _config(experiment)}
        _write(folder, files | system_files(experiment, there))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        opened = os.open(folder, os.O_RDONLY)
        held.callback(os.close, opened)  # which drops the lock
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _variants(folder: Path, system: str) -> dict[str, dict[str, Any]]:
    """The configuration of each variant of a system in the collection."""
    found = {}
    for facts in (folder / "systems" / system / "data").glob(f"*/{FACTS}"):
        try:
            found[facts.parent.name] = dict(json.loads(facts.read_text())["config"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"to: {facts} was not written by this export ({error}); give another folder"
            ) from error
    return found


def _write(folder: Path, files: Files) -> None:
    for path, content in files.items():
        final = folder / path
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f".{final.name}")
        partial.write_bytes(content)
        os.replace(partial, final)  # a file is whole or not there


def _config(experiment: Experiment) -> dict[str, Any]:
    """What tells variants apart."""
    speaker = experiment.speaker
    return {
        "vocab_size": speaker.vocab_size,
        "symbols_per_patch": speaker.symbols_per_patch,
        "patches": experiment.patches,
        "gate": speaker.gate.kind,
        "discrete": experiment.discrete,
        "data": experiment.data.kind,
        "image_size": experiment.data.image_size,
        "epochs": experiment.epochs,
        "seed": experiment.seed,
    }
