"""Fig. 5: what symbols and messages tell of classes and attributes, against dealt labels.

`symbol_label_bits` is the mutual information of a sent symbol and the class of its image,
`message_label_bits` that of the whole message. Each number has the mean of its null and the share
of the null that reaches it, over permutations of the images' labels: a message that no other image
has tells everything about any labels. The clusters are whole messages, and the symbol of the
patch that the speaker holds most important (`..._top`). Disentanglement and context independence
want the attributes that data.kind=shapes has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from pg_platform.config.section import Section
from pg_platform.data.images import Split
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.language.compositionality import (
    adjusted_information,
    bag_disentanglement,
    context_independence,
    positional_disentanglement,
    purity,
    semantic_consistency,
    v_measure,
)
from pg_platform.language.corpus import (
    UNSENT,
    Bank,
    Integers,
    attributes_of,
    chosen_rows,
    dense,
    messages_of,
)
from pg_platform.language.information import (
    entropy,
    message_label_information,
    symbol_label_information,
)
from pg_platform.language.resampling import defined, with_null
from pg_platform.progress import tracked


class Options(Section):
    """At most `images` labelled images of the split, in the plain view."""

    split: Split = "val"
    images: PositiveInt = 10_000
    permutations: PositiveInt = 100
    seed: NonNegativeInt = 0


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Raises ValueError where no image of the split has a label."""
    bank = open_bank(trained, options.split)
    rows = chosen_rows(bank, options.images, options.seed, labelled=True)
    messages, labels = messages_of(bank, rows), bank.labels[rows]
    found = _labels(messages, labels, options)
    found |= _clusters("message", dense(messages)[0], labels, options)
    ranked = bool(np.ptp(bank.scores[rows], axis=1).any())
    if ranked:
        found |= _clusters("top", _top_symbols(bank, rows), labels, options)
    found |= _null(
        "semantic_consistency", semantic_consistency, messages, bank.features[rows], options
    )
    attributes = attributes_of(bank, rows)
    if attributes is not None:
        for name, metric in _OF_ATTRIBUTES.items():
            found |= _null(name, metric, messages, attributes, options)
    metrics, words = defined(found)
    if not ranked:
        words.append("The speaker ranks no patches: nothing is said of the most important one.")
    if attributes is None:
        words.append(f"The images have no attributes: no {', '.join(_OF_ATTRIBUTES)}.")
    return EvaluationResult(metrics, words="\n".join(words))


_OF_ATTRIBUTES = {
    "positional_disentanglement": positional_disentanglement,
    "bag_disentanglement": bag_disentanglement,
    "context_independence": context_independence,
}


def _labels(messages: Integers, labels: Integers, options: Options) -> dict[str, float]:
    deals = (options.permutations, options.seed)
    return {
        "meaning/label_bits": entropy(labels),
        **with_null(
            "meaning/symbol_label_bits", *symbol_label_information(messages, labels, *deals)
        ),
        **with_null(
            "meaning/message_label_bits", *message_label_information(messages, labels, *deals)
        ),
    }


def _clusters(
    kind: str, clusters: Integers, labels: Integers, options: Options
) -> dict[str, float]:
    return {
        **_null(f"v_measure_{kind}", v_measure, clusters, labels, options),
        **_null(f"purity_{kind}", purity, clusters, labels, options),
        # adjusted: its null is 0 by construction
        f"meaning/adjusted_information_{kind}": adjusted_information(clusters, labels),
    }


def _null(
    name: str,
    metric: Callable[[Any, Any], float],
    said: Integers,
    meant: NDArray[Any],
    options: Options,
) -> dict[str, float]:
    """The metric, and its values where rows of `meant` are dealt to the images anew."""
    generator = np.random.default_rng(options.seed)
    null = np.array(
        [
            metric(said, generator.permutation(meant))
            for _ in tracked(range(options.permutations), name)
        ]
    )
    return with_null(f"meaning/{name}", metric(said, meant), null)


def _top_symbols(bank: Bank, rows: NDArray[np.int64]) -> Integers:
    """What is said of the sent patch of the highest score, as one number for all its symbols.

    Of messages that say nothing, a number of its own.
    """
    scores = np.where(bank.gates[rows], bank.scores[rows], -np.inf)
    said = bank.symbols[rows, scores.argmax(axis=1)]
    said[~bank.gates[rows].any(axis=1)] = UNSENT
    return dense(said)[0]
