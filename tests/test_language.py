"""The metrics of a language: against emlangkit, by hand, and on toy agents that are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emlangkit.metrics.bosdis import compute_bosdis  # type: ignore[import-untyped]
from emlangkit.metrics.entropy import compute_entropy  # type: ignore[import-untyped]
from emlangkit.metrics.mutual_information import compute_mutual_information  # type: ignore[import-untyped]
from emlangkit.metrics.posdis import compute_posdis  # type: ignore[import-untyped]
from emlangkit.metrics.topsim import compute_topographic_similarity  # type: ignore[import-untyped]
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pg_platform.config.experiment import Experiment
from pg_platform.config.paths import evaluation_names
from pg_platform.data.images import open_images
from pg_platform.data.loaders import validation_batches
from pg_platform.evaluate import load_evaluation
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
from pg_platform.language.corpus import UNSENT, dense, tokens
from pg_platform.language.information import (
    entropy,
    message_label_information,
    mutual_information,
    p_value,
    symbol_label_information,
)
from pg_platform.language.resampling import bootstrap_means
from pg_platform.language.retrieval import recall, reciprocal_rank, standings
from pg_platform.language.similarity import (
    cosine_distances,
    edit_distances,
    euclidean_distances,
    hamming_distances,
    image_pairs,
    jaccard_distances,
    topographic_similarity,
)
from pg_platform.language.usage import (
    collisions,
    compressibility,
    distinct_symbols,
    length_null,
    lengths,
    symbol_counts,
    zipf_exponent,
)
from pg_platform.methods import build
from pg_platform.training.validation import validate
from tests.agents import agents
from tests.small import SMALL, merged

CPU = torch.device("cpu")
N, LENGTH, CLASSES = 600, 6, 5
LABELS = np.random.default_rng(7).integers(CLASSES, size=N)


def language(seed: int, images: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Messages of one to six symbols of four, and two to four attributes."""
    generator = np.random.default_rng(seed)
    messages = generator.integers(4, size=(images, generator.integers(1, 7)))
    return messages, generator.integers(3, size=(images, generator.integers(2, 5)))


class TestAgainstEmlangkit:
    """To 1e-6, in emlangkit's own conventions."""

    @given(st.integers(0, 2**31), st.integers(2, 30))
    def test_entropy_and_information(self, seed: int, images: int) -> None:
        messages, attributes = language(seed, images)
        assert entropy(messages[:, 0]) == pytest.approx(compute_entropy(messages[:, 0]), abs=1e-6)
        assert entropy(messages) == pytest.approx(compute_entropy(messages), abs=1e-6)
        wanted = compute_mutual_information(messages, attributes)
        assert mutual_information(messages, attributes) == pytest.approx(wanted, abs=1e-6)

    @settings(deadline=None)
    @given(st.integers(0, 2**31), st.integers(4, 30))
    def test_topographic_similarity(self, seed: int, images: int) -> None:
        messages, attributes = language(seed, images)
        pairs = image_pairs(images, 0, 0)
        seen = hamming_distances(attributes, pairs)
        points = attributes.astype(float) + np.random.default_rng(seed).random(attributes.shape)
        for ours, theirs in ((edit_distances, "editdistance"), (hamming_distances, "hamming")):
            said = ours(messages, pairs)
            assume(len(set(said)) > 1 and len(set(seen)) > 1)
            wanted, _ = compute_topographic_similarity(messages, attributes, "hamming", theirs)
            assert topographic_similarity(said, seen) == pytest.approx(wanted, abs=1e-6)
            for distance, name in (
                (euclidean_distances, "euclidean"),
                (cosine_distances, "cosine"),
            ):
                wanted, _ = compute_topographic_similarity(messages, points, name, theirs)
                found = topographic_similarity(said, distance(points, pairs))
                assert found == pytest.approx(wanted, abs=1e-6)

    @settings(deadline=None)
    @given(st.integers(0, 2**31), st.integers(2, 30))
    def test_disentanglement(self, seed: int, images: int) -> None:
        messages, attributes = language(seed, images)
        posdis = positional_disentanglement(messages, attributes)
        bosdis = bag_disentanglement(messages, attributes)
        wanted = compute_posdis(messages, attributes), compute_bosdis(messages, attributes)
        assert (posdis, bosdis) == pytest.approx(wanted, abs=1e-6, nan_ok=True)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 2**31), st.integers(2, 30))
    def test_bags_of_messages_of_many_lengths(self, seed: int, images: int) -> None:
        messages, attributes = language(seed, images)
        unsent = np.random.default_rng(seed).random(messages.shape) < 0.4
        assume((~unsent).any())
        wanted = compute_bosdis(
            [row[~gone].tolist() for row, gone in zip(messages, unsent, strict=True)], attributes
        )
        found = bag_disentanglement(np.where(unsent, UNSENT, messages), attributes)
        assert found == pytest.approx(wanted, abs=1e-6, nan_ok=True)


@dataclass(frozen=True)
class Agent:
    """A speaker that is known, and what the metrics of it must be."""

    messages: NDArray[Any]
    embedding: NDArray[Any]
    information: float
    """Share of the label's entropy that a symbol tells."""
    told: bool
    """Whether the null says that the messages tell something."""
    topsim: float
    """NaN where the messages do not differ."""
    recall: float
    """At 1 in a gallery of 2, half the chance that the other image has another label added."""
    clusters: tuple[float, float]
    """V-measure and adjusted mutual information."""


def _noise(width: int) -> NDArray[Any]:
    return np.random.default_rng(11).normal(size=(N, width))


_SAME_CLASS = float((np.bincount(LABELS) / N) @ (np.bincount(LABELS) - 1)) / (N - 1)
AGENTS = {
    "random": Agent(
        messages=np.random.default_rng(3).integers(2, size=(N, LENGTH)),
        embedding=_noise(8),
        information=0,
        told=False,
        topsim=0,
        recall=0.5,
        clusters=(0.0, 0.0),
    ),
    "leaking": Agent(
        messages=np.repeat(LABELS[:, None], LENGTH, axis=1),
        embedding=np.eye(CLASSES)[LABELS],
        information=1,
        told=True,
        topsim=1,
        recall=1 - _SAME_CLASS / 2,
        clusters=(1.0, 1.0),
    ),
    "constant": Agent(
        messages=np.full((N, LENGTH), 3),
        embedding=np.ones((N, 8)),
        information=0,
        told=False,
        topsim=math.nan,
        recall=0.5,
        clusters=(0.0, 0.0),
    ),
}


@pytest.mark.parametrize("agent", AGENTS.values(), ids=AGENTS.keys())
class TestToyAgents:
    def test_information(self, agent: Agent) -> None:
        value, null = symbol_label_information(agent.messages, LABELS, permutations=99, seed=0)
        assert value == pytest.approx(agent.information * entropy(LABELS), abs=0.01)
        assert (p_value(value, null) <= 0.01) == agent.told

    def test_a_whole_message_tells_no_more_than_its_null(self, agent: Agent) -> None:
        value, null = message_label_information(agent.messages, LABELS, permutations=99, seed=0)
        assert (p_value(value, null) <= 0.01) == agent.told
        assert agent.told or value == pytest.approx(null.mean(), abs=0.1)

    def test_topographic_similarity(self, agent: Agent) -> None:
        pairs = image_pairs(N, 0, 0)
        seen = hamming_distances(LABELS[:, None], pairs)
        for distance in (edit_distances, jaccard_distances, hamming_distances):
            said = distance(agent.messages, pairs)
            found = topographic_similarity(said, seen)
            assert found == pytest.approx(agent.topsim, abs=0.02, nan_ok=True)

    def test_success(self, agent: Agent) -> None:
        image = agent.embedding if agent.told else np.random.default_rng(5).normal(size=(N, 8))
        better, equal = standings(agent.embedding, image)
        for direction in (0, 1):
            found = recall(better[direction], equal[direction], k=1, gallery=2).mean()
            assert found == pytest.approx(agent.recall, abs=0.03)

    def test_clusters(self, agent: Agent) -> None:
        clusters, _ = dense(agent.messages)
        found = v_measure(clusters, LABELS), adjusted_information(clusters, LABELS)
        assert found == pytest.approx(agent.clusters, abs=0.12)
        assert (purity(clusters, LABELS) == 1) == agent.told

    def test_consistency(self, agent: Agent) -> None:
        features = np.eye(CLASSES)[LABELS] + 0.1 * _noise(CLASSES)
        found = semantic_consistency(agent.messages, features)
        assert found > 0.7 if agent.told else abs(found) < 0.01


class TestAttributes:
    """A language that names each of two attributes at a position of its own, with own words."""

    attributes = np.stack(np.divmod(np.arange(24), 6), axis=1)

    def test_one_position_an_attribute(self) -> None:
        messages = self.attributes + np.array([0, 4])
        assert positional_disentanglement(messages, self.attributes) == pytest.approx(1)
        assert bag_disentanglement(messages, self.attributes) == pytest.approx(1)
        assert context_independence(messages, self.attributes) == pytest.approx(1)

    def test_the_same_words_in_any_order(self) -> None:
        generator = np.random.default_rng(0)
        messages = generator.permuted(self.attributes + np.array([0, 4]), axis=1)
        assert positional_disentanglement(messages, self.attributes) < 0.5
        assert bag_disentanglement(messages, self.attributes) == pytest.approx(1)
        assert context_independence(messages, self.attributes) == pytest.approx(1)

    def test_words_for_whole_images(self) -> None:
        messages = np.arange(24)[:, None]
        # each word occurs with 1 of the 6 images of one attribute, and 1 of 4 of the other
        assert context_independence(messages, self.attributes) == pytest.approx(
            (4 * 1 / 6 + 6 * 1 / 4) / 10
        )

    def test_one_attribute_is_refused(self) -> None:
        with pytest.raises(ValueError, match="two or more"):
            positional_disentanglement(np.zeros((3, 2), int), np.zeros((3, 1), int))


class TestForm:
    def test_what_is_not_sent_is_no_symbol(self) -> None:
        symbols = np.array([[[0, 1], [2, 2]], [[0, 3], [1, 1]]])
        messages = tokens(symbols, np.array([[True, True], [True, False]]))
        assert messages.tolist() == [[0, 1, 2, 2], [0, 3, UNSENT, UNSENT]]
        assert lengths(messages).tolist() == [4, 2]
        assert distinct_symbols(messages).tolist() == [3, 2]
        assert symbol_counts(messages, 5).tolist() == [2, 1, 2, 1, 0]

    @pytest.mark.parametrize("exponent", [0.0, 1.0, 1.7])
    def test_zipf(self, exponent: float) -> None:
        counts = np.round(1e9 * np.arange(1, 200) ** -exponent).astype(int)
        assert zipf_exponent(np.random.default_rng(0).permutation(counts)) == pytest.approx(
            exponent, abs=1e-3
        )

    def test_order_compresses_and_chance_does_not(self) -> None:
        generator = np.random.default_rng(0)
        phrases = generator.integers(64, size=(8, 32))
        assert compressibility(phrases[generator.integers(8, size=500)], 0) < 0.3
        shuffled = generator.integers(64, size=(500, 32))
        assert compressibility(shuffled, 0) == pytest.approx(1, abs=0.01)
        assert math.isnan(compressibility(np.full((3, 2), UNSENT), 0))

    def test_collisions(self) -> None:
        assert collisions(np.array([[1, 2], [2, 1], [1, 2], [1, 2]])) == 0.75

    @pytest.mark.parametrize("patches", [1, 2, 49])
    def test_the_null_of_lengths(self, patches: int) -> None:
        """The distribution of independent coins, convolved."""
        law = np.array([1.0])
        for rank in range(1, patches + 1):
            law = np.convolve(law, [1 - rank / patches, rank / patches])
        sent = np.arange(patches + 1)
        null = length_null(patches)
        assert null.mean == pytest.approx(law @ sent) == pytest.approx((patches + 1) / 2)
        assert null.variance == pytest.approx(law @ (sent - null.mean) ** 2)


class TestDistances:
    def test_of_messages_of_different_lengths(self) -> None:
        messages = np.array([[1, 2, UNSENT], [UNSENT, 1, 2], [3, UNSENT, 2], [UNSENT] * 3])
        pairs = image_pairs(4, 0, 0)
        assert edit_distances(messages, pairs).tolist() == [0, 0.5, 2, 0.5, 2, 2]
        assert jaccard_distances(messages, pairs) == pytest.approx([0, 2 / 3, 1, 2 / 3, 1, 1])
        assert hamming_distances(messages, pairs) == pytest.approx(np.array([3, 3, 2, 2, 2, 2]) / 3)
        empty = np.full((2, 3), UNSENT)
        assert edit_distances(empty, image_pairs(2, 0, 0)) == 0
        assert jaccard_distances(empty, image_pairs(2, 0, 0)) == 0

    def test_every_symbol_is_a_character_of_its_own(self) -> None:
        symbols = np.array([[0], [1], [0xD7FF], [0xD800], [0xDFFF], [0xE000], [70_000]])
        assert edit_distances(symbols, image_pairs(len(symbols), 0, 0)).min() == 1

    def test_sampled_pairs_keep_their_bound(self) -> None:
        """Each pair of 1,300 images against samples: 19 of 20 within 2 / sqrt(pairs)."""
        generator = np.random.default_rng(0)
        points = generator.normal(size=(1300, 3))
        said = np.round(9 + points + generator.normal(size=points.shape)).astype(int)

        def topsim(pairs: tuple[NDArray[Any], NDArray[Any]]) -> float:
            return topographic_similarity(
                hamming_distances(said, pairs), euclidean_distances(points, pairs)
            )

        every = topsim(np.triu_indices(1300, 1))
        off = [abs(topsim(image_pairs(1300, 2500, seed)) - every) for seed in range(40)]
        assert sum(one > 2 / math.sqrt(2500) for one in off) <= 4
        one, other = image_pairs(1300, 2500, 0)
        assert (one < other).all()
        cut = (one[:50], other[:50])
        assert edit_distances(said, cut) == pytest.approx(
            [
                edit_distances(said[[i, j]], image_pairs(2, 0, 0))[0]
                for i, j in zip(*cut, strict=True)
            ]
        )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 7))
def test_retrieval_is_the_mean_over_every_gallery(seed: int, gallery: int) -> None:
    """By enumeration, with ties that earn their expected credit."""
    generator, n = np.random.default_rng(seed), 7
    text, image = generator.integers(3, size=(2, n, 2)).astype(float)
    for direction, scores in enumerate((text @ image.T, image @ text.T)):
        better, equal = (side[direction] for side in standings(text, image))
        firsts, ranks = np.zeros(n), np.zeros(n)
        for query in range(n):
            rest = [i for i in range(n) if i != query]
            drawn = list(combinations(rest, gallery - 1))
            for others in drawn:
                above = sum(scores[query, i] > scores[query, query] for i in others)
                level = sum(scores[query, i] == scores[query, query] for i in others)
                places = np.arange(above + 1, above + level + 2)
                firsts[query] += (places <= 2).mean() / len(drawn)
                ranks[query] += (1 / places).mean() / len(drawn)
        assert recall(better, equal, k=2, gallery=gallery) == pytest.approx(firsts)
        assert reciprocal_rank(better, equal, gallery=gallery) == pytest.approx(ranks)


def test_standings_of_many_images_are_those_of_all_products_at_once() -> None:
    generator, n = np.random.default_rng(2), 4500  # more than are multiplied at once
    text, image = generator.integers(-2, 3, size=(2, n, 5)).astype(np.float32)
    scores = text @ image.T
    own = np.diagonal(scores)
    better, equal = standings(text, image)
    for direction, (table, mine) in enumerate(((scores, own[:, None]), (scores.T, own[:, None]))):
        assert (better[direction] == (table > mine).sum(axis=1)).all()
        assert (equal[direction] == (table == mine).sum(axis=1) - 1).all()


def test_agents_that_always_say_and_see_the_same_tie_with_every_image() -> None:
    vectors = np.random.default_rng(3).normal(size=(2, 1, 33)).astype(np.float32)
    text, image = np.repeat(vectors, 4500, axis=1)
    better, equal = standings(text, image)
    assert (better == 0).all()
    assert (equal == 4499).all()


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    values = np.random.default_rng(0).normal(size=(200, 60))  # 60 columns of true mean 0
    low, high = bootstrap_means(values, 300, seed=1)
    assert ((low < 0) & (high > 0)).mean() == pytest.approx(0.95, abs=0.07)
    assert (high - low).mean() == pytest.approx(2 * 1.96 / math.sqrt(200), rel=0.1)


class TestEvaluations:
    """The files in evals/, on agents that have not been trained."""

    @pytest.fixture(scope="class")
    def trained(self, tmp_path_factory: pytest.TempPathFactory) -> Trained:
        experiment = Experiment.model_validate(merged(SMALL, {"validation": {"pool_size": 100}}))
        folder = tmp_path_factory.mktemp("language") / "step-000000000"
        return Trained(folder, experiment, build(experiment).eval(), CPU)

    def evaluate(self, trained: Trained, name: str, **options: Any) -> EvaluationResult:
        evaluation = load_evaluation(name)
        return evaluation.evaluate(trained, evaluation.Options.model_validate(options))

    def test_what_they_share_is_not_one_of_them(self) -> None:
        assert {"form", "topsim", "meaning", "success"} <= set(evaluation_names())
        assert "language" not in evaluation_names()

    def test_success_equals_validation_where_the_pool_is_the_gallery(
        self, trained: Trained
    ) -> None:
        images = open_images(trained.experiment.data, "val")
        batches = validation_batches(images, trained.experiment, CPU)
        wanted = validate(trained.method, batches, pool_size=100, vocab_size=8)
        trained.method.eval()
        found = self.evaluate(trained, "success", galleries=[16, 100, 4096])
        for direction in ("", "reverse_"):
            for k in (1, 5):
                assert found.metrics[f"success/{direction}r{k}_g100"] == pytest.approx(
                    wanted[f"val/{direction}top{k}_pool100"], abs=1e-6
                )
        assert "4096" in found.words
        with pytest.raises(ValueError, match=r"galleries: the smallest is 4096"):
            self.evaluate(trained, "success", galleries=[4096])

    def test_meaning_has_the_metrics_of_attributes(self, trained: Trained) -> None:
        found = self.evaluate(trained, "meaning", permutations=20).metrics
        for name in ("positional_disentanglement", "bag_disentanglement", "context_independence"):
            assert 0 <= found[f"meaning/{name}"] <= 1
            assert 1 / 21 <= found[f"meaning/{name}_null_p"] <= 1

    def test_topsim_of_more_images_than_have_all_their_pairs(self, tmp_path: Path) -> None:
        data = {"count": 1500, "val_fraction": 0.8, "image_size": 8}
        changes = {"data": data, "speaker": {"patch_size": 4}, "batch_size": 8}
        experiment = Experiment.model_validate(merged(SMALL, changes))
        trained = Trained(tmp_path / "step-000000000", experiment, build(experiment).eval(), CPU)
        found = self.evaluate(
            trained, "topsim", images=1200, pairs=3000, permutations=5, resamples=20
        ).metrics
        every = self.evaluate(trained, "topsim", images=1000, permutations=5, resamples=20).metrics
        for name in ("edit_pixel", "jaccard_feature", "position_attribute"):
            key = f"topsim/{name}"
            assert found[f"{key}_low"] < found[key] < found[f"{key}_high"]
            assert found[key] == pytest.approx(every[key], abs=0.08)
            assert abs(every[f"{key}_null_mean"]) < 0.05

    def test_form_shows_the_figures_and_what_is_behind_them(self, trained: Trained) -> None:
        found = self.evaluate(trained, "form", extremes=2)
        assert set(found.figures) == {"fig9_lengths", "fig10_extremes", "fig12_symbols"}
        sent = sum(row[1] for row in found.tables["symbols"].rows)
        told = sum(length * images for length, images in found.tables["lengths"].rows)
        assert sent == told
        assert len(found.tables["extremes"].rows) == 4
        assert found.metrics["form/entropy_bits"] <= math.log2(8)


def test_intervals_of_few_images_are_correlations(tmp_path: Path) -> None:
    """Many resamples of so few images have pairs of one distance only."""
    options = load_evaluation("topsim").Options.model_validate({"images": 4, "resamples": 200})
    found = load_evaluation("topsim").evaluate(agents({}, tmp_path), options)
    bounds = [v for name, v in found.metrics.items() if name.endswith(("_low", "_high"))]
    assert bounds
    assert all(-1 <= bound <= 1 for bound in bounds)


def test_every_metric_of_many_images_has_a_null_and_a_row(tmp_path: Path) -> None:
    """The images lie class by class, as folders do: the first thousand are of one class."""
    for name, count in (("a", 2200), ("b", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.fromarray(np.full((16, 16, 3), number % 256, dtype=np.uint8))
            picture.save(tmp_path / "images" / name / f"{number:04}.png")
    folder = {"kind": "image_folder", "path": str(tmp_path / "images"), "image_size": 16}
    run = agents({"data": folder | {"val_fraction": 0.5}}, tmp_path / "run")
    options = load_evaluation("topsim").Options.model_validate(
        {"images": 1150, "resamples": 2, "permutations": 3, "pairs": 1000}
    )
    found = load_evaluation("topsim").evaluate(run, options)
    names = {name for name in found.metrics if not name.endswith(("_low", "_high", "_mean", "_p"))}
    assert "topsim/edit_label" in names
    assert {f"{name}_null_p" for name in names} <= set(found.metrics)
    assert len(found.tables["topsim"].rows) == len(names)


def test_messages_that_say_nothing_name_no_patch(tmp_path: Path) -> None:
    silent = {"speaker": {"gate": {"kind": "adaptive", "share": 1e-6}}}
    evaluation = load_evaluation("meaning")
    found = evaluation.evaluate(agents(silent, tmp_path / "a"), evaluation.Options())
    assert found.metrics["meaning/v_measure_top"] == 0
    everything = {"speaker": {"gate": {"kind": "all"}}}
    found = evaluation.evaluate(agents(everything, tmp_path / "b"), evaluation.Options())
    assert "meaning/v_measure_top" not in found.metrics
    assert "ranks no patches" in found.words
