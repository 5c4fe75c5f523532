"""No verdict out of nothing: ties, few seeds, small pools, and agents that only guess."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.nulls import FILE, above, read, told_apart
from pg_platform.report.chance import above_chance
from pg_platform.report.comparison import Comparison, compare
from pg_platform.report.paper_claims import verdict
from pg_platform.report.statistics import Resolution, paired, summarise, told
from pg_platform.report.summary import answer, caveats
from pg_platform.store.table import Table
from pg_platform.sweep.schema import Claim, Metric
from pg_platform.training.validation import top_k_credit
from tests.results import LOSS, stored, vocabularies

POOL = 40
SUCCESS = Metric(name=f"val/top1_pool{POOL}", goal="maximize")
TIMES = 2000


def comparison(
    results: Mapping[int, Sequence[float]], images: int = POOL, metric: Metric = SUCCESS
) -> Comparison:
    """Vocabularies with the results of their seeds, each measured on so many images."""
    trials = vocabularies(list(results), max(map(len, results.values())))
    counted = {"data/val_images": float(images), "data/train_images": float(images)}
    runs = {
        trial.id: stored({metric.name: results[int(trial.group[2:])][trial.seed], **counted})
        for trial in trials
        if trial.seed < len(results[int(trial.group[2:])])
    }
    return compare(trials, runs, metric)


def column(found: Comparison, name: str) -> list[Any]:
    table = found.table()
    return [row[table.columns.index(name)] for row in table.rows]


def test_one_photo_of_forty_in_each_of_two_seeds_is_no_verdict() -> None:
    found = comparison({2: [0.0, 0.025], 4: [0.025, 0.05]})
    for name in ("p", "diff_low", "diff_high"):
        assert column(found, name) == [None, None], name
    assert column(found, "difference") == [None, pytest.approx(0.025)]
    assert column(found, "verdict") == ["baseline", "too few seeds"]
    said = answer(found)
    assert said.startswith("Nothing was learned: no point is told apart from chance.")
    assert "better" not in said
    assert "V=4 and the baseline V=2 share 2 seeds; a verdict wants 3." in said


@pytest.mark.parametrize("seeds", [3, 4, 6])
def test_a_tie_in_every_seed_has_the_spread_of_its_images(seeds: int) -> None:
    found = comparison({2: [0.2] * seeds, 4: [0.225] * seeds})
    assert column(found, "verdict")[1] == "not distinguishable"
    assert all(p is None or p > 0.05 for p in column(found, "p"))
    many = comparison({2: [0.2] * seeds, 4: [0.225] * seeds}, images=50_000)
    assert column(many, "verdict")[1] == "better"


@pytest.mark.parametrize("share", [0.0, 0.025, 0.5, 1.0])
def test_the_spread_of_a_share_is_that_of_its_images_at_least(share: float) -> None:
    for images in (40, 512, 50_000):
        summary = summarise([share] * 3, Resolution(share=True, images=images))
        assert summary.sd is not None
        assert summary.sd >= (share * (1 - share) / images) ** 0.5
        assert summary.sd > 0


@given(st.lists(st.integers(0, POOL), min_size=2, max_size=6), st.integers(1, 50))
def test_the_interval_of_a_share_stays_where_shares_are(right: list[int], pools: int) -> None:
    fine = Resolution(share=True, images=POOL * pools)
    summary = summarise([count / POOL for count in right], fine)
    assert summary.low is not None
    assert summary.high is not None
    assert summary.mean is not None
    assert 0 <= summary.low <= summary.mean <= summary.high <= 1
    assert summary.low < summary.high


def test_a_run_that_does_not_count_its_images_has_one_pool_of_them() -> None:
    results = {2: [0.2] * 3, 4: [0.225] * 3}
    trials = vocabularies([2, 4], 3)
    runs = {t.id: stored({SUCCESS.name: results[int(t.group[2:])][t.seed]}) for t in trials}
    assert compare(trials, runs, SUCCESS).resolution == Resolution(share=True, images=POOL)


@pytest.mark.parametrize("metric", [LOSS, Metric(name="optim/lr", goal="minimize")])
def test_equal_differences_of_what_is_no_share_have_no_verdict(metric: Metric) -> None:
    found = comparison({2: [0.3, 0.4, 0.5], 4: [0.2, 0.3, 0.4]}, metric=metric)
    assert column(found, "verdict") == ["baseline", "no spread"]
    assert column(found, "p") == [None, None]
    assert "V=4 and the baseline V=2 differ by -0.1 in every seed" in answer(found)


def test_an_epoch_sooner_in_each_of_three_seeds_may_be_rounding() -> None:
    epochs = Metric(name=f"{SUCCESS.name}:epochs_to:0.5", goal="minimize")
    trials = vocabularies([2, 4], seeds=3)
    runs = {t.id: stored({}, run_id=t.id) for t in trials}

    def verdict_at(sooner: int) -> object:
        def history(run_id: str, _: str) -> list[tuple[int, float]]:
            at = 9 if run_id.startswith("V=2") else 9 - sooner
            return [(epoch, float(epoch >= at)) for epoch in range(1, 10)]

        return column(compare(trials, runs, epochs, history=history), "verdict")[1]

    assert (verdict_at(1), verdict_at(4)) == ("not distinguishable", "better")


def test_a_claim_wants_three_seeds_and_more_than_a_tie() -> None:
    claim = Claim(says="", parameter="V", direction="increases")

    def word(seeds: int, rise: float, resolution: Resolution | None = None) -> str:
        values = [({"V": v}, s, 0.2 + rise * r) for s in range(seeds) for r, v in enumerate((2, 4))]
        return verdict(claim, values, resolution).word

    small, large = (Resolution(share=True, images=images) for images in (POOL, 50_000))
    assert word(2, 0.5, large) == "not distinguishable"
    assert word(3, 0.025) == "not distinguishable"
    assert word(3, 0.025, small) == "not distinguishable"
    assert word(3, 0.025, large) == "supported"
    assert word(5, 0.5, small) == "supported"


# --- runs in which nothing differs


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_real_runs_that_differ_by_seed_alone_are_told_apart_in_one_case_of_twenty_at_most(
    seeds: int,
) -> None:
    """Untrained and hardly trained agents, as they were measured; most of their results tie."""
    for (epochs, images), shares in read(FILE).items():
        assert told_apart(shares, images, seeds, times=TIMES) <= 0.05, (epochs, images)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_untrained_agents_have_learned_nothing(seeds: int) -> None:
    runs = read(FILE)
    for epochs, images in runs:
        if epochs == 0:
            assert above(runs[epochs, images], images, seeds, times=TIMES) <= 0.05, images


def played(seeds: int, *, signal: float, generator: torch.Generator) -> list[float]:
    """What agents that understand each other by `signal` score in one pool, as training counts."""
    images = torch.randn(seeds, POOL, 8, generator=generator)
    texts = signal * images + torch.randn(seeds, POOL, 8, generator=generator)
    credit = top_k_credit(torch.bmm(texts, images.transpose(1, 2)), 1)
    return [float(share) for share in credit.mean(dim=1)]


@pytest.mark.parametrize("signal", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("seeds", [3, 4, 6])
def test_points_without_a_difference_are_told_apart_in_one_case_of_twenty_at_most(
    signal: float, seeds: int
) -> None:
    """At every level of success, over a family of three comparisons."""
    generator = torch.Generator().manual_seed(0)
    found = wrong = tied = 0
    for _ in range(300):
        results = {v: played(seeds, signal=signal, generator=generator) for v in (2, 4, 8, 16)}
        verdicts = column(comparison(results), "verdict")
        found += 1
        wrong += bool({"better", "worse"} & set(verdicts))
        tied += len({round(a - b, 9) for a, b in zip(results[2], results[4], strict=True)}) == 1
    assert wrong / found <= 0.05
    assert tied or signal or seeds > 3, "no tie was among the seeds"


@pytest.mark.parametrize("kinds", [1, 2, 4, 10])
@pytest.mark.parametrize("pools", [1, 20])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_agents_that_confuse_kinds_of_images_are_not_above_chance(
    kinds: int, pools: int, seeds: int
) -> None:
    """They take each kind of image for one kind, drawn once for all pools, now and then its own."""
    draw = np.random.default_rng(kinds)
    resolution = Resolution(share=True, images=pools * POOL)

    def share() -> float:
        kind, meant = np.arange(POOL) % kinds, draw.integers(kinds, size=kinds)
        alike = meant[kind][:, None] == kind[None, :]
        chosen = (alike * draw.random((pools, POOL, POOL))).argmax(axis=2)
        return float((chosen == np.arange(POOL)).mean())

    p = [
        above_chance([share() for _ in range(seeds)], SUCCESS.name, resolution) for _ in range(600)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.07  # 0.05, and two standard errors of 600 draws


# --- what is learned is told


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_what_was_learned_is_not_denied(seeds: int) -> None:
    learned = comparison({2: [0.025] * seeds, 4: [0.4] * seeds})
    assert "Nothing was learned" not in answer(learned)
    nothing = comparison({2: [0.025] * seeds, 4: [0.05] * seeds})
    assert answer(nothing).startswith("Nothing was learned: ")


def test_a_little_more_than_chance_in_many_images_and_seeds_is_something() -> None:
    shares = [0.045, 0.047, 0.044, 0.046, 0.045]
    assert above_chance(shares, SUCCESS.name, Resolution(share=True, images=50_000)) < 0.01
    assert above_chance(shares, SUCCESS.name, Resolution(share=True, images=POOL)) > 0.05


def test_a_sweep_under_way_has_learned_nothing_so_far() -> None:
    trials = vocabularies([2, 4], seeds=1)
    found = compare(trials, {trials[0].id: stored({SUCCESS.name: 0.025})}, SUCCESS)
    assert answer(found).startswith("Nothing was learned so far: ")
    assert answer(compare(trials, {}, SUCCESS)) == "0 of 2 trials finished. No result yet."


# --- p


def test_a_p_is_never_zero() -> None:
    far = paired({seed: 1e9 + seed * 1e2 for seed in range(40)})
    assert far.p is not None
    assert far.p > 0
    assert (told(far.p), told(0.00099), told(0.001), told(0.5)) == (
        *("< 0.001", "< 0.001", "0.001", "0.5"),
    )


def test_no_form_of_a_table_has_a_p_of_zero() -> None:
    results = {2: [0.1 + s / 1e4 for s in range(8)], 4: [0.9 - s / 1e4 for s in range(8)]}
    found = comparison(results, images=10**9)
    table = found.table()
    (p,) = (cell for cell in column(found, "p") if cell is not None)
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert 0 < float(rows[1]["p"]) == p < 1e-6
    assert table.printed()[1][table.columns.index("p")] == "< 0.001"
    assert "| < 0.001 |" in table.markdown()
    assert "& $<0.001$ &" in table.latex()
    assert "corrected p < 0.001" in answer(found)


def test_what_must_be_known_first_opens_the_tables_that_people_read() -> None:
    table = Table(("a",), ((1,),), notes=("Nothing was learned.",))
    assert table.markdown().splitlines()[:3] == ["Nothing was learned.", "", "| a |"]
    assert table.latex().startswith("% Nothing was learned.\n\\begin{tabular}")
    assert table.csv() == "a\n1\n"


def test_the_caveat_on_points_near_the_best_agrees_with_the_verdicts() -> None:
    common, noise = [0.1, 0.3, 0.5, 0.7], [0.001, -0.001, 0.002, -0.002]
    apart = {2: common, 4: [c + 0.05 + n for c, n in zip(common, noise, strict=True)]}
    found = comparison(apart, images=10**6)
    assert column(found, "verdict") == ["baseline", "better"]
    assert "Not distinguishable" not in " ".join(caveats(found, data="imagenet", device="cuda"))
    few = comparison({v: seeds[:2] for v, seeds in apart.items()}, images=10**6)
    said = " ".join(caveats(few, data="imagenet", device="cuda"))
    assert "Not distinguishable from the best, V=4: V=2." in said
    assert "no verdict below 3" in said
