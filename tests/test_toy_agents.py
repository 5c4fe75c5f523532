"""Every language metric on speakers that are known, against the value that theory says."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import pg_platform.language
from pg_platform.evaluate import JointEvaluation, find_evaluation
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.trained import Trained
from pg_platform.language.corpus import messages_of, tokens
from pg_platform.language.information import mutual_information
from pg_platform.language.resampling import defined
from pg_platform.language.similarity import hamming_distances, image_pairs, topographic_similarity
from tests.cells import DEALS, OPEN, Law
from tests.expected_game import GAME
from tests.expected_language import LANGUAGE
from tests.toys import AGENTS, VOCABULARY, World, toy

OPTIONS: dict[str, dict[str, Any]] = {
    "form": {"extremes": 2},
    "meaning": {"permutations": DEALS},
    "topsim": {"permutations": DEALS, "resamples": 20},
    "success": {"views": "plain", "galleries": [16, 256], "resamples": 20},
    "topsim_classes": {"permutations": DEALS, "per_class": 60},
    "bag_of_words": {},
    "symbols": {"patches": 30},
    "audit": {"resamples": 20},
    "crossplay": {},
}
TABLE = {**LANGUAGE, **GAME}
OF_LANGUAGE = ("form", "meaning", "topsim", "success")
"""The evaluations whose metrics are those of language/."""

COMPANIONS = ("_low", "_high", "_null_mean")
CELLS = {
    f"{agent}-{metric}": (agent, metric, law)
    for metric, row in TABLE.items()
    for agent, law in zip(AGENTS, row, strict=True)
    if law is not OPEN
}

Measures = Callable[[str], Mapping[str, float]]


@pytest.fixture(scope="module")
def measures(tmp_path_factory: pytest.TempPathFactory) -> Measures:
    """All metrics of an agent by their names, measured once."""

    @cache
    def measured(agent: str) -> Mapping[str, float]:
        folder = tmp_path_factory.mktemp(agent)
        own, twin = toy(agent, folder), toy(agent, folder / "twin", renumbered=True)
        found = _parts(own)
        for name, options in OPTIONS.items():
            evaluation = find_evaluation(name)
            chosen = evaluation.Options.model_validate(options)
            with suppress(ValueError):  # nothing of it is defined: its metrics are missing
                if isinstance(evaluation, JointEvaluation):
                    both = [("own", own), ("twin", twin)]
                    found |= evaluation.evaluate_together(both, chosen).metrics
                else:
                    found |= evaluation.evaluate(own, chosen).metrics
        return found

    return measured


@cache
def world() -> World:
    return World("val")


@pytest.mark.parametrize(("agent", "metric", "law"), CELLS.values(), ids=CELLS.keys())
def test_a_metric_is_what_theory_says(
    measures: Measures, agent: str, metric: str, law: Law | None
) -> None:
    found = measures(agent)
    if law is None:
        assert metric not in found
        return
    formula, within = law
    assert found[metric] == pytest.approx(formula(world()), abs=within)


@pytest.mark.parametrize(
    ("agent", "bits"), [("constant", 0), ("random", 1), ("holistic", math.log2(VOCABULARY))]
)
def test_the_interval_of_entropy_has_that_of_the_source(
    measures: Measures, agent: str, bits: float
) -> None:
    """A sample has less entropy than what it is drawn from, and a resample less again."""
    found = measures(agent)
    low, value, high = (found[f"form/entropy_bits{end}"] for end in ("_low", "", "_high"))
    assert low <= value <= high
    assert low <= bits <= high + 1e-9


def test_every_metric_of_the_language_is_in_the_table(measures: Measures) -> None:
    """What the evaluations give, and each function of language/ that they or the table use."""
    given = {metric for agent in AGENTS for metric in measures(agent)}
    language = {
        metric for metric in given if metric.startswith(tuple(f"{n}/" for n in OF_LANGUAGE))
    }
    plain = {metric for metric in language if not metric.endswith(COMPANIONS)}
    nulls = {metric for metric in plain if metric.endswith("_pixel_null_p")}  # theory is silent
    assert plain - nulls <= TABLE.keys()
    assert TABLE.keys() <= given
    users = [find_evaluation(name) for name in OF_LANGUAGE] + [sys.modules[__name__]]
    used = {one for user in users for one in vars(user).values() if inspect.isfunction(one)}
    assert _metrics() <= used


def _parts(trained: Trained) -> dict[str, float]:
    """Functions of language/ that no evaluation uses as they are, on the same bank."""
    bank = open_bank(trained, "val")
    pairs = image_pairs(len(bank), 0, 0)
    messages = messages_of(bank, np.arange(len(bank)))
    labels = bank.labels[:]
    said, seen = hamming_distances(messages, pairs), hamming_distances(labels[:, None], pairs)
    values = {
        "language/mutual_information": mutual_information(messages, labels),
        "language/topographic_similarity": topographic_similarity(said, seen),
    }
    return defined(values)[0]


def _metrics() -> set[FunctionType]:
    """The public functions of language/, but those that its own files build others from."""
    modules = [
        importlib.import_module(f"pg_platform.language.{one.name}")
        for one in pkgutil.iter_modules(pg_platform.language.__path__)
        if one.name not in ("ablations", "elcc")  # no metrics
    ]
    own = {
        function
        for module in modules
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and not name.startswith("_")
        and function.__module__ == module.__name__
    }
    built_from = {
        function
        for module in modules
        for function in vars(module).values()
        if inspect.isfunction(function) and function.__module__ != module.__name__
    }
    return own - built_from - {tokens}  # of which `messages_of` is built, in the same file
