"""Collections: a list of sweeps, run in one call and told of on one page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pg_platform.config.section import ConfigError
from pg_platform.report.comparison import Comparison
from pg_platform.report.paper_claims import Verdict, verdict
from pg_platform.report.reproduction import SweepEntry, reproduction
from pg_platform.store.store import Store
from pg_platform.sweep.load import is_collection, load_collection
from pg_platform.sweep.schema import Claim, Paper
from tests.commands import run
from tests.small import write_sweep
from tests.swept import swept
from tests.test_page import EVIL, Reader

V = "speaker.vocab_size"


def collection(folder: Path, sweeps: str, name: str = "both") -> Path:
    """A collection beside the files of two empty sweeps, one and another."""
    for each in ("one", "another"):
        (folder / f"{each}.yaml").write_text(f"name: {each}\n")
    path = folder / "both.yaml"
    path.write_text(f"name: {name}\nsweeps: {sweeps}\n")
    return path


def test_sweeps_are_in_the_order_of_the_list(tmp_path: Path) -> None:
    path = collection(tmp_path, "[one, another]")
    assert is_collection(path)
    assert not is_collection(tmp_path / "one.yaml")
    files = [tmp_path / "one.yaml", tmp_path / "another.yaml"]
    assert load_collection(path) == ("both", files)


@pytest.mark.parametrize(
    ("sweeps", "told"),
    [
        ("[one, anotehr]", "2:15: sweeps[1]: wants one of another, one (did you mean 'another'?)"),
        ("[one, one]", "2:15: sweeps[1]: wants each sweep once, got 'one'"),
        ("[both]", "2:10: sweeps[0]: wants one of another, one, got 'both'"),
        ("[]", "2:9: sweeps"),
        ("[3]", "2:10: sweeps[0]"),
        ("one", "2:9: sweeps"),
        ("[one]\nsweps: 1", "3:1: sweps: unknown key"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, sweeps: str, told: str) -> None:
    path = collection(tmp_path, sweeps)
    with pytest.raises(ConfigError) as error:
        load_collection(path)
    assert f"{path}:{told}" in str(error.value)


def test_all_mistakes_come_at_once_and_a_list_of_lists_is_one(tmp_path: Path) -> None:
    path = collection(tmp_path, "[inner, on]", name="A B")
    (tmp_path / "inner.yaml").write_text("name: inner\nsweeps: [one]\n")
    with pytest.raises(ConfigError) as error:
        load_collection(path)
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in error.value.problems] == [
        *("1", "2", "2")
    ]
    assert "wants a sweep and no collection, got 'inner'" in error.value.problems[1]


def entry(name: str, slope: float) -> SweepEntry:
    """A sweep of three vocabularies whose success goes up by about `slope` with each symbol."""
    found = swept({V: [2, 8, 32]}, lambda p: [seed * slope * p[V] for seed in (0.9, 1.0, 1.1)])
    claim = Claim(says=f"larger V helps {EVIL}", parameter=V, direction="increases")
    paper = Paper(answers="Fig. 6c", values={"V=2": 0.123, "V=999": 0.5}, claims=(claim,))
    return SweepEntry(
        name, f"Does it {EVIL}?", paper, found, [judged(found, claim)], f"run-of-{name}"
    )


def judged(found: Comparison, claim: Claim) -> Verdict:
    points = found.points
    return verdict(
        claim,
        [(p.values, seed, value) for p in points for seed, value in p.results.items()],
    )


def test_the_page_tells_of_each_sweep_and_loads_nothing() -> None:
    text = reproduction("paper", [entry("up", 0.01), entry("down", -0.01)], ["left"])
    page = Reader(text)
    assert page.unbalanced == []
    assert not {"script", "link", "img", "iframe"} & {name for name, _ in page.elements}
    assert page.attributes("src") == page.attributes("href") == []
    for told in ("up", "down", "Fig. 6c", "run-of-up", "run-of-down", EVIL, "0.123"):
        assert told in page.text
    assert "2 sweeps. 2 claims: 1 contradicted, 1 supported." in page.text
    assert "left was not run yet." in page.text
    assert "not in this sweep" in page.text


def test_the_page_has_the_caveats_of_each_sweep() -> None:
    told = replace(entry("up", 0.01), caveats=[f"Bear in mind {EVIL}."])
    assert f"Bear in mind {EVIL}." in Reader(reproduction("paper", [told])).text


def test_the_answer_of_all_stands_before_that_of_any() -> None:
    bare = replace(entry("up", 0.01), paper=None, verdicts=())
    page = Reader(reproduction("paper", [bare])).text
    assert page.index("No claim is judged.") < page.index("V=32 is best")


def write_both(folder: Path) -> Path:
    """A collection of two small sweeps, the second with a claim."""
    claim = {"says": "larger V is better", "parameter": V, "direction": "increases"}
    paper = {"answers": "Fig. 6c", "claims": [claim]}
    for name, changes in (("one", {}), ("another", {"paper": paper})):
        scales = {"tiny": {"name": f"{name}_tiny", "experiment.epochs": 1}}
        # Other seeds: what one sweep has finished, another takes over and does not run.
        one_seed = {"name": name, "seeds": [len(name)], "scales": scales}
        write_sweep(folder, one_seed | changes).rename(folder / f"{name}.yaml")
    path = folder / "both.yaml"
    path.write_text("name: both\nsweeps: [one, another]\n")
    return path


def test_a_dry_run_lists_each_sweep_and_starts_nothing(tmp_path: Path) -> None:
    path, home = write_both(tmp_path), tmp_path / "home"
    done = run(["pg-sweep", str(path), "--scale", "tiny", "--dry-run", "--json"], home)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["one_tiny", "another_tiny"]
    listed = run(["pg-sweep", str(path), "--dry-run"], home)
    assert listed.stdout.index("== one\n") < listed.stdout.index("== another\n")
    assert not (home / "trials").exists()
    assert run(["pg-report", str(path)], home).returncode == 2
    refused = run(["pg-sweep", str(path), "--status"], home)
    assert refused.returncode == 2
    assert "ask one: one, another" in refused.stderr


@pytest.mark.slow
def test_a_collection_runs_in_one_call_and_leaves_one_page(tmp_path: Path) -> None:
    path, home = write_both(tmp_path), tmp_path / "home"
    done = run(["pg-sweep", str(path), "--scale", "tiny"], home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 trials: 2 run now, 0 finished before") == 2
    with Store.open(home) as store:
        assert [each.tags["pg.sweep"] for each in store.sweeps()] == ["one_tiny", "another_tiny"]
        experiment = store.find_experiment("patchgame/both_tiny")
        assert experiment is not None
        (page_run,) = store.runs(experiment)
        page = Reader(store.text(page_run.run_id, "report/page.html"))
        assert all(each.run_id in page.text for each in store.sweeps())
    assert (page_run.name, page_run.status) == ("reproduction", "FINISHED")
    assert "1 not distinguishable" in page.text
    assert page_run.run_id in done.stdout
    copy = tmp_path / "copy.html"
    again = run(["pg-report", str(path), "--scale", "tiny", "--to", str(copy)], home)
    assert again.returncode == 0, again.stderr
    assert page_run.run_id in again.stdout
    assert Reader(copy.read_text()).text == page.text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_of_the_paper_runs_small(tmp_path: Path) -> None:
    short = ["--scale", "small", "--set", "experiment.epochs=1", "--set", "seeds=1"]
    done = run(["pg-sweep", "learning_rate", *short], tmp_path, patience=800)
    assert done.returncode == 0, done.stderr
    assert "5 trials: 5 run now" in done.stdout
    with Store.open(tmp_path) as store:
        assert len(store.finished_trials("learning_rate_small")) == 5
