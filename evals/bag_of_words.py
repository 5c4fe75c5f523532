"""Table 5: classes from the bag of symbols of a message, by complement naive Bayes.

Each image is the multiset of the symbols sent about it, weighted by tf-idf as scikit-learn has it
(counts, smooth idf, L2). The classifier learns from resamples of the training split, drawn with
replacement and as large as it, and is asked about the validation split: mean and standard
deviation are over these resamples. The null has the training labels permuted. The symbols of a
patch with several symbols are told apart by their slot.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import top_k_accuracy_score
from sklearn.naive_bayes import ComplementNB
from torch import Tensor

from pg_platform.config.section import Section
from pg_platform.config.seeds import stream
from pg_platform.data.images import Split
from pg_platform.evaluation.message_bank import open_bank
from pg_platform.evaluation.result import EvaluationResult
from pg_platform.evaluation.trained import Trained
from pg_platform.language.corpus import Bank
from pg_platform.progress import tracked
from pg_platform.store.table import Table

SPLITS: tuple[Split, Split] = ("train", "val")
_COLUMNS = ("features", "classifier", "labels", "top1_mean", "top1_sd", "top5_mean", "top5_sd")


class Options(Section):
    """`seeds` resamples; `logistic_iterations` bounds the fit of the logistic regression."""

    seeds: PositiveInt = 3
    seed: NonNegativeInt = 0
    logistic_iterations: PositiveInt = 1000


def evaluate(trained: Trained, options: Options) -> EvaluationResult:
    """Accuracies of each row of the table. Raises ValueError where a split has no label."""
    banks = [open_bank(trained, split) for split in SPLITS]
    chosen = [_labelled(bank) for bank in banks]
    labels = [torch.tensor(bank.labels[rows]) for bank, rows in zip(banks, chosen, strict=True)]
    if len(labels[0].unique()) < 2:
        raise ValueError("data: bag_of_words needs two classes with labels in the train split")
    rows: list[tuple[Any, ...]] = []
    for sent in ("sent", "all"):
        bags = [
            bag(bank.symbols[of], bank.gates[of], bank.vocabulary, every_patch=sent == "all")
            for bank, of in zip(banks, chosen, strict=True)
        ]
        rows += _rows(sent, bags, (labels[0], labels[1]), options)
    table = Table(_COLUMNS, tuple(rows))
    return EvaluationResult(
        _metrics(rows, options), tables={"table5": table}, words=_words(rows, options)
    )


def bag(
    symbols: NDArray[np.int32], gates: NDArray[np.bool_], vocabulary: int, *, every_patch: bool
) -> csr_matrix[np.float64]:
    """Counts (images, slots * vocabulary) of the symbols that are sent, or of every patch's.

    `symbols` (images, patches, slots), `gates` (images, patches).
    """
    images, _, slots = symbols.shape
    words = (symbols + vocabulary * np.arange(slots)).reshape(images, -1)
    told = np.ones_like(gates) if every_patch else gates
    kept = told.repeat(slots, axis=1)
    image = np.broadcast_to(np.arange(images)[:, None], words.shape)
    counted = (np.ones(int(kept.sum())), (image[kept], words[kept]))
    return csr_matrix(counted, shape=(images, slots * vocabulary))


def _labelled(bank: Bank) -> NDArray[np.intp]:
    """Rows of the images that have labels; ValueError where none has."""
    (rows,) = (bank.labels >= 0).nonzero()
    if not len(rows):
        raise ValueError("data: no image of the split has a label, and bag_of_words needs them")
    return rows


def accuracies(
    classifier: Any, bags: list[csr_matrix[np.float64]], labels: tuple[Tensor, Tensor]
) -> tuple[float, float]:
    """Top-1 and top-5 on (train, val); an image of a class that was not learnt is a miss."""
    weigh = TfidfTransformer().fit(bags[0])
    classifier.fit(weigh.transform(bags[0]), labels[0].numpy())
    scores = _scores(classifier, weigh.transform(bags[1]))
    known = np.isin(labels[1].numpy(), classifier.classes_)
    if not known.any():
        return 0.0, 0.0
    return (_top(1, labels, scores, classifier), _top(5, labels, scores, classifier))


def _top(k: int, labels: tuple[Tensor, Tensor], scores: Any, classifier: Any) -> float:
    classes, truth = classifier.classes_, labels[1].numpy()
    known = np.isin(truth, classes)
    if k >= len(classes):
        return float(known.mean())
    if len(classes) == 2:
        return float((classes[scores.argmax(axis=1)] == truth).mean())
    share = top_k_accuracy_score(truth[known], scores[known], k=k, labels=classes)
    return float(share * known.mean())


def _scores(classifier: Any, features: Any) -> Any:
    """(images, classes): joint log likelihoods, which probabilities would round to equals."""
    if isinstance(classifier, ComplementNB):
        return classifier.predict_joint_log_proba(features)
    return classifier.predict_proba(features)


def _rows(
    sent: str,
    bags: list[csr_matrix[np.float64]],
    labels: tuple[Tensor, Tensor],
    options: Options,
) -> list[tuple[Any, ...]]:
    rows = []
    for name, told in (("naive_bayes", "own"), ("naive_bayes", "permuted"), ("logistic", "own")):
        found = []
        for number in tracked(range(options.seeds), f"{name}, {sent}"):
            own = torch.Generator().manual_seed(stream(options.seed, "bag_of_words", number))
            pick = torch.randint(len(labels[0]), (len(labels[0]),), generator=own)
            learnt = labels[0][pick]
            if len(learnt.unique()) < 2:
                raise ValueError(
                    f"data: a resample of the {len(pick)} labelled images of the train split has "
                    "one class only, from which nothing is learned; bag_of_words needs more images"
                )
            if told == "permuted":
                learnt = learnt[torch.randperm(len(learnt), generator=own)]
            part = [bags[0][pick.numpy()], bags[1]]
            found.append(accuracies(_classifier(name, options), part, (learnt, labels[1])))
        top1, top5 = zip(*found, strict=True)
        rows.append((sent, name, told, *_spread(top1), *_spread(top5)))
    return rows


def _classifier(name: str, options: Options) -> Any:
    if name == "naive_bayes":
        return ComplementNB()
    return LogisticRegression(max_iter=options.logistic_iterations)


def _spread(values: tuple[float, ...]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _metrics(rows: list[tuple[Any, ...]], options: Options) -> dict[str, float]:
    metrics = {}
    for sent, name, told, *values in rows:
        for measure, value in zip(_COLUMNS[3:], values, strict=True):
            if value is not None:
                null = "_permuted" if told == "permuted" else ""
                key = f"bag_of_words/{name}_{sent}{null}_{measure}_n{options.seeds}"
                metrics[key] = value
    return metrics


def _words(rows: list[tuple[Any, ...]], options: Options) -> str:
    own, null = rows[0][3], rows[1][3]
    return (
        f"Naive Bayes on the symbols that are sent: top-1 {own:.4f}, {null:.4f} where the training "
        f"labels are permuted; means over {options.seeds} resamples of the training split."
    )
