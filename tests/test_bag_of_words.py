"""Bags of symbols: what is counted, and scikit-learn's arithmetic against a dense one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import top_k_accuracy_score
from sklearn.naive_bayes import ComplementNB

from evals.bag_of_words import accuracies, bag
from pg_platform.data.images import Images
from pg_platform.results.played_split import PlayedSplit


def played(ids: torch.Tensor, gate: torch.Tensor, labels: torch.Tensor) -> PlayedSplit:
    count = len(ids)
    images = Images(("a", "b"), labels, [str(i) for i in range(count)], torch.empty(count, 3, 1, 1))
    return PlayedSplit(images, ids, gate, gate.float(), labels)


def test_a_bag_counts_what_was_sent_by_slot() -> None:
    ids = torch.tensor([[[0, 1], [0, 0], [2, 1]]])  # three patches with two symbols each
    gate = torch.tensor([[True, True, False]])
    said = played(ids, gate, torch.tensor([0]))
    rows = torch.tensor([0])
    assert bag(said, rows, 3, every_patch=False).toarray().tolist() == [[2, 0, 0, 1, 1, 0]]
    assert bag(said, rows, 3, every_patch=True).toarray().tolist() == [[2, 0, 1, 1, 2, 0]]


def test_tf_idf_and_naive_bayes_equal_those_of_dense_counts() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(300) % 8
    ids = torch.randint(0, 12, (300, 9, 1), generator=generator)
    ids[:, :3, 0] = labels[:, None]  # something to learn
    gate = torch.rand(300, 9, generator=generator) < 0.6
    said = played(ids, gate, labels)
    rows = torch.arange(300)
    bags = [bag(said, rows[part], 12, every_patch=False) for part in (slice(200), slice(200, None))]
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
    ids = torch.tensor([[[0]], [[1]], [[2]], [[0]], [[2]]])
    labels = torch.tensor([0, 1, 2, 0, 7])
    said = played(ids, torch.ones(5, 1, dtype=torch.bool), labels)
    rows = torch.arange(5)
    bags = [bag(said, rows[part], 3, every_patch=False) for part in (slice(3), slice(3, None))]
    assert accuracies(ComplementNB(), bags, (labels[:3], labels[3:])) == (0.5, 0.5)
