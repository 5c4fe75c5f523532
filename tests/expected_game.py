"""What theory says of the game played with five known speakers, and of classes from symbols."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import product

from tests.cells import EXACT, NULL, ONE, OPEN, SURE, ZERO, Row, law, retrieval, value
from tests.laws import between_by_chance, found, reciprocal
from tests.toys import POOL, SENT, VOCABULARY

_GUESSED = value(1 / POOL)
_SUCCESS = retrieval(lambda told: found(told, 1, POOL), (0.01, 0.02))
_GUESSED_ON_AVERAGE: Row = (_GUESSED, *(value(1 / POOL, 0.02),) * 4)
_CLASSES = value(0.2, 0.04)
"""Five of about equal size, guessed."""


def _success() -> Iterator[tuple[str, Row]]:
    for side, g in product(("", "reverse_"), (16, 256)):
        yield f"success/{side}mrr_g{g}", retrieval(partial(reciprocal, gallery=g))
        for k in (1, 5, 10):
            deviation = math.sqrt(k / g * (1 - k / g) / 500)  # of so many guesses
            within = (EXACT, 4 * deviation)
            yield f"success/{side}r{k}_g{g}", retrieval(partial(found, k=k, gallery=g), within)


GAME: dict[str, Row] = {
    **dict(_success()),
    **{
        f"bag_of_words/{classifier}_sent_top1_mean_n3": (_CLASSES, _CLASSES, ONE, ONE, _CLASSES)
        for classifier in ("naive_bayes", "logistic")
    },
    "bag_of_words/naive_bayes_sent_permuted_top1_mean_n3": (_CLASSES, _CLASSES, OPEN, OPEN, OPEN),
    "bag_of_words/naive_bayes_sent_top5_mean_n3": (ONE,) * 5,  # there are no more classes
    "symbols/variance_between": (
        ZERO,
        law(lambda w: between_by_chance(2, SENT * len(w)), 0.001),
        OPEN,
        OPEN,
        law(lambda w: between_by_chance(VOCABULARY, SENT * len(w)), 0.003),
    ),
    "symbols/variance_between_permuted": (
        ZERO,
        law(lambda w: between_by_chance(2, SENT * len(w)), 0.001),
        law(lambda w: between_by_chance(5, SENT * len(w)), 0.002),
        law(lambda w: between_by_chance(VOCABULARY, SENT * len(w)), 0.003),
        law(lambda w: between_by_chance(VOCABULARY, SENT * len(w)), 0.003),
    ),
    "symbols/distance_within_over_between": (None, value(1, 0.05), OPEN, OPEN, value(1, 0.05)),
    "topsim_classes/spearman_mean_own_features_n60": (
        None,
        value(0, 0.05),
        None,  # all messages of a class are the same
        ONE,
        value(0, 0.05),
    ),
    "topsim_classes/p_own_features_n60": (None, NULL, None, SURE, OPEN),
    **{
        f"audit/top1_pool{POOL}_{kept}": _SUCCESS
        for kept in ("whole", "sampled", "gate_binarised", "all_gates_on", "gates_shuffled")
    },
    **{
        f"audit/top1_pool{POOL}_{lost}": (_GUESSED,) * 5
        for lost in ("symbols_constant", "noise_images", "dropped8")
    },
    **{
        f"audit/top1_pool{POOL}_{lost}": _GUESSED_ON_AVERAGE
        for lost in ("symbols_shuffled", "another_message")
    },
    f"audit/top1_pool{POOL}_order_shuffled": (*_SUCCESS[:3], OPEN, OPEN),
    f"audit/bits_pool{POOL}_whole": (
        ZERO,
        OPEN,
        law(lambda w: math.log2(POOL * found(w.labels, 1, POOL)), 0.02),
        law(lambda w: math.log2(POOL * found(w.combinations, 1, POOL)), 0.02),
        law(lambda w: math.log2(POOL * found(w.combinations, 1, POOL)), 0.02),
    ),
    f"audit/bits_pool{POOL}_gate": (ZERO,) * 5,
    f"audit/bits_pool{POOL}_order": (ZERO, OPEN, ZERO, OPEN, OPEN),
    f"audit/influence_bits_pool{POOL}": (ZERO, OPEN, OPEN, OPEN, OPEN),
    "audit/soft_gates": (ZERO,) * 5,
    "audit/top1_pool8_same_class": (
        value(1 / 8),
        value(1 / 8, 0.04),
        value(1 / 8),
        OPEN,
        OPEN,
    ),
    "audit/top1_pool8_any_class": retrieval(lambda told: found(told, 1, 8), (0.02, 0.04)),
    f"crossplay/top1_pool{POOL}_own": _SUCCESS,
    f"crossplay/top1_pool{POOL}_relabelled": _SUCCESS,
    f"crossplay/top1_pool{POOL}_raw": (_GUESSED, value(1 / POOL, 0.02), OPEN, OPEN, OPEN),
    "crossplay/ami": (ONE, value(0, 0.01), ONE, ONE, ONE),
}
