"""Bags of symbols: what is counted, and scikit-learn's arithmetic against a dense one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import top_k_accuracy_score
from sklearn.naive_bayes import ComplementNB

from evals.bag_of_words import accuracies, bag


def test_a_bag_counts_what_was_sent_by_slot() -> None:
    symbols = np.array([[[0, 1], [0, 0], [2, 1]]], np.int32)  # three patches, two symbols each
    gates = np.array([[True, True, False]])
    assert bag(symbols, gates, 3, every_patch=False).toarray().tolist() == [[2, 0, 0, 1, 1, 0]]
    assert bag(symbols, gates, 3, every_patch=True).toarray().tolist() == [[2, 0, 1, 1, 2, 0]]


def test_tf_idf_and_naive_bayes_equal_those_of_dense_counts() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(300) % 8
    ids = torch.randint(0, 12, (300, 9, 1), generator=generator)
    ids[:, :3, 0] = labels[:, None]  # something to learn
    gate = torch.rand(300, 9, generator=generator) < 0.6
    symbols, gates = ids.numpy().astype(np.int32), gate.numpy()
    bags = [
        bag(symbols[part], gates[part], 12, every_patch=False)
        for part in (slice(200), slice(200, None))
    ]
    split = (labels[:200], labels[200:])
    dense = np.stack(
        [np.bincount(i[g].flatten(), minlength=12) for i, g in zip(ids, gate, strict=True)]
    )
    weigh = TfidfTransformer().fit(dense[:200])
    bayes = ComplementNB().fit(weigh.transform(dense[:200]).toarray(), labels[:200].numpy())
    scores = bayes.predict_joint_log_proba(weigh.transform(dense[200:]).toarray())
    wanted = [top_k_accuracy_score(split[1].numpy(), scores, k=k) for k in (1, 5)]
    assert accuracies(ComplementNB(), bags, split) == pytest.approx(wanted, abs=0)
    assert wanted[0] > 0.5


def test_an_image_of_a_class_that_was_not_learnt_is_a_miss() -> None:
    symbols, gates = np.array([[[0]], [[1]], [[2]], [[0]], [[2]]], np.int32), np.ones((5, 1), bool)
    labels = torch.tensor([0, 1, 2, 0, 7])
    bags = [
        bag(symbols[part], gates[part], 3, every_patch=False) for part in (slice(3), slice(3, None))
    ]
    assert accuracies(ComplementNB(), bags, (labels[:3], labels[3:])) == (0.5, 0.5)
