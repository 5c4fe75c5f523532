"""The page of a sweep: whole, alone, and safe to open."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pg_platform.plots.style import drawn
from pg_platform.report.page import ForecastSummary, PageContent, PageFigure, inline, page
from pg_platform.report.paper_claims import verdict
from pg_platform.report.parameter_figures import final_by_parameter, heat_map
from pg_platform.report.summary import caveats
from pg_platform.sweep.schema import Claim, Paper
from tests.swept import swept

V, L = "speaker.vocab_size", "speaker.symbols_per_patch"
EVIL = "<script>alert('x')</script>"
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """What a browser would see: elements, ids, loaded addresses, text; and tags that do not fit."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        self.unbalanced += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open[-1:] == ["style"] else data

    def attributes(self, name: str) -> list[str]:
        return [str(attrs[name]) for _, attrs in self.elements if name in attrs]


def content() -> PageContent:
    """A page with every part of it, and hostile texts where a user may write."""
    grid = swept({V: [2, 64], L: [1, 4]}, lambda p: [p[V] / 100, p[V] / 100 + 0.02] if p[L] else [])
    claim = Claim(says=f"More words help {EVIL}", parameter=V, direction="increases")
    results = [
        ({V: value}, seed, value * (1 + seed / 10)) for value in (2, 64) for seed in range(3)
    ]
    figures = [final_by_parameter(grid, V), heat_map(grid, V, L), final_by_parameter(grid, V)]
    return PageContent(
        title=f"vocab {EVIL}",
        question=f"Why? {EVIL}",
        answer=f"V=64 is best {EVIL}",
        comparison=grid,
        paper=Paper(answers=f"Fig. 6 {EVIL}", values={"V=64 l=4": 0.93, "V=3": 0.5}),
        verdicts=[verdict(claim, results)],
        drawings=[
            PageFigure(f'by "V" {EVIL}', drawn(figure)["svg"].decode(), f"It rises. {EVIL}")
            for figure in figures
        ],
        notes=[f"no importances {EVIL}"],
        failures=[(f"V=2 seed={seed}", f"Traceback\n  {EVIL}\nOSError: full") for seed in (0, 1)],
        forecasts=[
            ForecastSummary(f"hours {EVIL}", "h", 8, 9.3),
            ForecastSummary("cost", "USD", 40, None),
        ],
        how_run={f"recipe {EVIL}": f"default {EVIL}"},
        caveats=[f"few seeds {EVIL}"],
    )


def test_tags_are_balanced_and_ids_unique() -> None:
    reader = Reader(page(content()))
    assert reader.unbalanced == []
    counts = Counter(reader.attributes("id"))
    assert counts
    assert max(counts.values()) == 1


def test_references_of_figures_lead_to_ids_of_the_page() -> None:
    reader = Reader(page(content()))
    targets = [href for href in reader.attributes("xlink:href") if href.startswith("#")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(reader.attributes("id"))
    clips = [clip[5:-1] for clip in reader.attributes("clip-path")]
    assert clips
    assert set(clips) <= set(reader.attributes("id"))


def test_it_loads_nothing_and_runs_nothing() -> None:
    text = page(content())
    reader = Reader(text)
    loaded = [*reader.attributes("src"), *reader.attributes("href")]
    loaded += reader.attributes("xlink:href")
    assert not [address for address in loaded if not address.startswith("#")]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in reader.elements}
    assert "@import" not in text
    assert not [name for _, attrs in reader.elements for name in attrs if name.startswith("on")]


def test_all_texts_of_users_are_shown_as_they_are() -> None:
    reader = Reader(page(content()))
    for said in ("vocab", "Why?", "best", "help", "Fig. 6", "rises.", "importances", "hours"):
        assert f"{said} {EVIL}" in reader.text
    for said in ("recipe", "default", "seeds"):
        assert f"{said} {EVIL}" in reader.text


def test_figures_have_names_for_who_cannot_see_them() -> None:
    pictures = [attrs for tag, attrs in Reader(page(content())).elements if tag == "svg"]
    assert [p["role"] for p in pictures] == ["img"] * 3
    assert {p["aria-label"] for p in pictures} == {f'by "V" {EVIL}'}
    assert all("width" not in p and "viewbox" in p for p in pictures)


def test_the_answer_stands_first() -> None:
    text = Reader(page(content())).text
    order = ["V=64 is best", "supported", "symbols_per_patch", "few seeds", "OSError"]
    assert sorted(order, key=text.index) == order


def test_each_traceback_stands_once_with_its_trials() -> None:
    reader = Reader(page(content()))
    assert reader.text.count("Traceback") == 1
    assert "V=2 seed=0, V=2 seed=1" in reader.text
    assert "2x OSError: full" in reader.text


def test_the_paper_stands_beside_ours_also_where_we_have_nothing() -> None:
    text = page(content())
    assert "<td>V=64 l=4</td><td>0.93</td><td>0.65</td>" in text
    assert "<td>V=3</td><td>0.5</td><td>not in this sweep</td>" in text
    assert "not measured" in text


def test_empty_parts_are_left_out() -> None:
    bare = PageContent("t", "", "No result yet.", swept({V: [2]}, lambda _: []))
    reader = Reader(page(bare))
    assert [tag for tag, _ in reader.elements].count("h2") == 1
    assert reader.unbalanced == []


def test_equal_contents_are_equal_pages() -> None:
    assert page(content()) == page(content())
    assert page(replace(content(), answer="other")) != page(content())


def test_what_is_no_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="curves wants an <svg> element"):
        inline("<p>no</p>", "f0", "curves")


def said(results: dict[int, list[float]], data: str = "imagenet", device: str = "cuda") -> str:
    """The caveats of a sweep over V with these results."""
    comparison = swept({V: list(results)}, lambda p: results[p[V]])
    return " ".join(caveats(comparison, data=data, device=device))


def test_caveats_are_found_from_the_numbers() -> None:
    apart = [[0.1 + i / 1000 for i in range(6)], [0.9 + i / 1000 for i in range(6)]]
    assert said({2: apart[0], 64: apart[1]}) == ""
    assert "Only 2 to 3 seeds" in said({2: [0.1, 0.2, 0.3], 64: [0.8, 0.9]})
    assert "One seed per point" in said({2: [0.1], 64: [0.9]})
    near = said({2: apart[0], 8: [v + 0.001 for v in apart[0]], 64: apart[1]})
    assert near == ""
    assert "from the best, V=8: V=2." in said({2: apart[0], 8: [v + 0.001 for v in apart[0]]})
    assert "not in the means: 1 trial." in said({2: apart[0], 64: []})
    assert "Without any result: V=64." in said({2: apart[0], 64: []})


def test_a_game_that_was_hardly_learned_is_told() -> None:
    seeds = [0.0001 * i for i in range(6)]
    chance = 1 / 512
    near, far = ([times * chance + x for x in seeds] for times in (2.0, 20.0))
    assert "hardly learned: the best point has 2.1 times" in said({2: near})
    assert said({2: far}) == ""


def test_caveats_tell_of_size_and_data() -> None:
    fine = {2: [0.1 + i / 1000 for i in range(6)]}
    assert "CPU" in said(fine, device="cpu")
    assert "digits, not ImageNet" in said(fine, data="digits")
    assert said(fine, data="image_folder: data/ImageNet") == ""
