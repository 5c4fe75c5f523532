"""What theory says of each metric of language/ about five known speakers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from statistics import fmean

from tests.cells import (
    LABEL_BITS,
    NULL,
    ONE,
    OPEN,
    SURE,
    TOLD,
    TOLD_WHERE_DEFINED,
    ZERO,
    Row,
    law,
    value,
)
from tests.laws import (
    adjusted,
    bias,
    chance_independence,
    closer,
    contained,
    distinct,
    entropy,
    gap,
    information,
    largest,
    namings,
    shared,
    slope,
    spearman,
    v_measure,
    words,
)
from tests.toys import SENT, VOCABULARY


def _topsim() -> Iterator[tuple[str, Row]]:
    """Images whose features differ by the number of attributes that do: 1 for the compositional."""
    for said in ("edit", "jaccard", "position"):
        for seen in ("label", "attribute", "feature", "pixel"):
            other = "attribute" if seen == "feature" else seen
            leaking, compositional = (
                law(partial(spearman, said=named, seen=other)) for named in ("label", "attribute")
            )
            by_chance = value(0, 0.02)
            row: Row = (None, by_chance, leaking, compositional, by_chance)
            yield f"topsim/{said}_{seen}", row
            told = TOLD_WHERE_DEFINED
            if seen == "pixel":  # images of one shape hardly have like pixels
                told = (None, NULL, OPEN, SURE, OPEN)
            yield f"topsim/{said}_{seen}_null_p", told


LANGUAGE: dict[str, Row] = {
    "form/entropy_bits": (
        ZERO,
        value(1, 0.01),
        LABEL_BITS,
        law(lambda w: entropy(words(w))),
        value(math.log2(VOCABULARY), 0.02),
    ),
    "form/active_symbols": (
        ONE,
        value(2),
        law(lambda w: w.kinds[0]),
        law(lambda w: sum(w.kinds)),
        value(VOCABULARY),
    ),
    "form/zipf_exponent": (
        None,  # below three symbols
        None,
        law(lambda w: slope(w.labels)),
        law(lambda w: slope(words(w))),
        value(0, 0.15),
    ),
    # repeated symbols cost nothing; of known order only the attribute's own entropy is left
    "form/compressibility": (
        ONE,
        value(1, 0.03),
        value(1 / SENT, 0.1),
        law(lambda w: 1 - math.log2(SENT) / entropy(words(w)), 0.25),
        law(lambda w: len(set(w.combinations.tolist())) / len(w), 0.06),
    ),
    "form/collisions": (
        ONE,
        law(lambda w: 1 - (1 - 2**-SENT) ** (len(w) - 1)),
        ONE,
        law(lambda w: shared(w.combinations)),
        law(lambda w: shared(w.combinations)),
    ),
    "form/length": (value(SENT),) * 5,
    "form/length_variance": (ZERO,) * 5,
    # of nine coins with 1/9, 2/9, ...: sum p and sum p (1 - p)
    "form/length_null_mean": (value(5),) * 5,
    "form/length_null_variance": (value(sum(r * (9 - r) for r in range(10)) / 81),) * 5,
    "form/distinct_symbols": (
        ONE,
        value(distinct(2), 0.04),
        ONE,
        value(SENT),
        value(distinct(VOCABULARY), 0.06),
    ),
    "meaning/label_bits": (LABEL_BITS,) * 5,
    "meaning/symbol_label_bits": (
        ZERO,
        law(lambda w: bias(2, w.kinds[0], SENT * len(w)), 0.002),
        LABEL_BITS,
        # words tell which position they are of, so the positions' informations are averaged
        law(lambda w: fmean(information(a, w.labels) for a in w.attributes.T)),
        law(lambda w: bias(VOCABULARY, w.kinds[0], SENT * len(w)), 0.03),
    ),
    "meaning/symbol_label_bits_null_p": TOLD,
    "meaning/message_label_bits": (
        ZERO,
        law(lambda w: bias(2**SENT, w.kinds[0], len(w)), 0.05),
        LABEL_BITS,
        LABEL_BITS,
        LABEL_BITS,
    ),
    "meaning/message_label_bits_null_p": TOLD,
    "meaning/v_measure_message": (
        ZERO,
        law(lambda w: 2 * bias(2**SENT, 5, len(w)) / (SENT + entropy(w.labels)), 0.02),
        ONE,
        law(lambda w: v_measure(w.combinations, w.labels)),
        law(lambda w: v_measure(w.combinations, w.labels)),
    ),
    "meaning/v_measure_message_null_p": TOLD,
    "meaning/v_measure_top": (
        ZERO,
        value(0, 0.01),
        ONE,
        ONE,
        law(lambda w: 2 * bias(27, 5, len(w)) / (math.log2(27) + entropy(w.labels)), 0.02),
    ),
    "meaning/v_measure_top_null_p": (ONE, NULL, SURE, SURE, NULL),
    "meaning/purity_message": (
        law(lambda w: largest(w.labels)),
        law(lambda w: largest(w.labels) + 0.1, 0.1),  # the commonest of few is more
        ONE,
        ONE,
        ONE,
    ),
    "meaning/purity_message_null_p": TOLD,
    "meaning/purity_top": (
        law(lambda w: largest(w.labels)),
        law(lambda w: largest(w.labels), 0.03),
        ONE,
        ONE,
        law(lambda w: largest(w.labels) + 0.1, 0.1),
    ),
    "meaning/purity_top_null_p": (ONE, NULL, SURE, SURE, NULL),
    "meaning/adjusted_information_message": (
        ZERO,
        value(0, 0.02),
        ONE,
        law(lambda w: adjusted(w.combinations, w.labels)),
        law(lambda w: adjusted(w.combinations, w.labels)),
    ),
    "meaning/adjusted_information_top": (ZERO, value(0, 0.01), ONE, ONE, value(0, 0.02)),
    "meaning/semantic_consistency": (
        ZERO,
        value(0, 0.002),
        law(lambda w: closer(w, 0), 0.005),
        law(lambda w: closer(w, None), 0.005),
        value(0, 0.005),
    ),
    "meaning/semantic_consistency_null_p": TOLD,
    "meaning/positional_disentanglement": (
        None,  # no position varies
        value(0, 0.02),
        law(lambda w: gap(w.labels, w)),
        law(lambda w: fmean(gap(column, w) for column in w.attributes.T)),
        value(0, 0.05),
    ),
    "meaning/positional_disentanglement_null_p": TOLD_WHERE_DEFINED,
    "meaning/bag_disentanglement": (
        None,
        value(0, 0.02),
        law(lambda w: fmean(gap(w.labels == v, w) for v in range(w.kinds[0]))),
        law(lambda w: fmean(gap(named, w) for named in namings(w))),
        value(0, 0.05),
    ),
    "meaning/bag_disentanglement_null_p": TOLD_WHERE_DEFINED,
    "meaning/context_independence": (
        law(lambda w: chance_independence(w, 1)),
        law(lambda w: chance_independence(w, distinct(2) / 2), 0.02),
        # 1 for the five shapes; a word is in one of five images with any other value
        law(lambda w: (w.kinds[0] + (len(w.kinds) - 1) / w.kinds[0]) / sum(w.kinds), 0.03),
        ONE,
        law(lambda w: chance_independence(w, contained()), 0.04),
    ),
    "meaning/context_independence_null_p": TOLD,
    **dict(_topsim()),
    # functions of language/ that evaluations use in parts
    "language/mutual_information": (
        ZERO,
        law(lambda w: bias(2**SENT, w.kinds[0], len(w)), 0.05),
        LABEL_BITS,
        LABEL_BITS,
        LABEL_BITS,
    ),
    "language/topographic_similarity": (
        None,
        value(0, 0.02),
        ONE,
        law(lambda w: spearman(w, "attribute", "label")),
        value(0, 0.02),
    ),
}
