"""One table, one code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pg_platform
from pg_platform.driver.resume import Retry
from pg_platform.store.codes import UNKNOWN, is_mixed, joined, mixture, of_seeds
from pg_platform.store.store import Store
from pg_platform.training.code import code_identity, identity_of
from tests.local_sweeps import (
    changed_package,
    command,
    empty_home,
    kept,
    play,
    play_with,
    report,
    trials,
    written,
)

PACKAGE = Path(pg_platform.__file__).parent


@pytest.mark.parametrize(
    ("file", "decides"),
    [
        ("training/optimizer.py", True),
        ("game/loss.py", True),
        ("data/views.py", True),
        ("config/experiment.py", True),
        ("methods.py", True),
        ("report/page.py", False),
        ("driver/live_table.py", False),
        ("cli/pack.py", False),
        ("config/recipes/paper.yaml", False),  # its values stand in the ids of trials
    ],
)
def test_the_code_is_what_training_can_reach(tmp_path: Path, file: str, decides: bool) -> None:  # noqa: FBT001
    ignored = shutil.ignore_patterns("__pycache__")
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "copy", ignore=ignored))
    assert identity_of(copy) == identity_of(PACKAGE) == code_identity()
    edited = copy / file
    edited.write_text(edited.read_text() + "\n")
    assert (identity_of(copy) != code_identity()) is decides


def test_results_of_one_code_are_told_of_as_ever() -> None:
    for code in ("a1", UNKNOWN):
        codes = {"V=2": {0: code, 1: code}, "V=8": {0: code}}
        assert mixture(codes) is None
        assert not is_mixed(codes)
    assert mixture({}) is None


def test_a_mixture_names_the_runs_of_each_code() -> None:
    told = mixture({"V=2": {0: "a1", 1: UNKNOWN}, "V=8": {0: "a1"}, "base": {3: "a1+b2"}})
    assert told is not None
    assert "code a1: V=2 seed=0, V=8 seed=0;" in told
    assert "code not recorded: V=2 seed=1;" in told
    assert "code a1 and then code b2: seed=3." in told
    assert "--rerun" in told


def test_a_run_that_other_code_has_continued_is_of_both() -> None:
    assert joined(["a", "a"]) == "a"
    assert joined(["a+b", "b", "c"]) == "a+b+c"
    assert is_mixed({"V=2": {0: "a+b"}})
    assert of_seeds({0: "a", 1: "b", 2: "a"}) == "a (seed 0 2), b (seed 1)"
    assert of_seeds({0: "a", 1: "a"}) == "a"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sweep whose seed 0 has an edited copy of the package run, and seed 1 this one."""
    folder = tmp_path_factory.mktemp("mixed")
    file, home = written(folder), empty_home(folder / "home")
    play_with(changed_package(folder / "package"), file, home)
    play(file, home, "seeds=2")
    return file, home


def test_a_table_that_mixes_codes_says_so_first(mixed: tuple[Path, Path]) -> None:
    """Seen as one mean, interval and paired p, without a word."""
    file, home = mixed
    codes = {name: run.tags["pg.code"] for name, run in trials(home, "small").items()}
    other = codes["V=2 seed=0"]
    assert codes == {
        "V=2 seed=0": other,
        "V=8 seed=0": other,
        "V=2 seed=1": code_identity(),
        "V=8 seed=1": code_identity(),
    }
    assert other != code_identity()
    said = "This table mixes results of different code"
    named = f"code {other}: V=2 seed=0, V=8 seed=0; code {code_identity()}: V=2 seed=1, V=8 seed=1"
    texts = kept(home, "small")
    assert texts["note"].startswith(said)
    assert named in texts["note"]
    page = texts["report/page.html"]
    assert page.index(said) < page.index("is best in")
    cell = f"{other} (seed 0), {code_identity()} (seed 1)"
    assert texts["tables/comparison.csv"].startswith("code,")
    assert all(cell in texts[f"tables/comparison.{form}"] for form in ("csv", "md", "json"))
    printed = report(home, str(file))
    assert printed.index(said) < printed.index("is best in")
    assert named in printed


def test_a_sweep_warns_before_it_adds_to_results_of_other_code(mixed: tuple[Path, Path]) -> None:
    file, home = mixed
    dry = command(home, "pg-sweep", str(file), "--set", "seeds=3", "--dry-run")
    assert dry.stdout.startswith(f"warning: what runs now has code {code_identity()}")
    assert "V=2 seed=0, V=8 seed=0" in dry.stdout
    assert "--rerun" in dry.stdout
    nothing = command(home, "pg-sweep", str(file), "--set", "seeds=2", "--dry-run")
    assert "warning" not in nothing.stdout
    again = command(home, "pg-sweep", str(file), "--set", "seeds=2", "--dry-run", "--rerun")
    assert "4 trials: 2 run, 2 reused" in again.stdout
    assert "warning" not in again.stdout


def test_rerun_makes_the_table_one(
    mixed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, home = written(tmp_path), mixed[1]
    before = trials(home, "small")
    result = play(file, home, "seeds=2", retry=Retry(rerun=True))
    assert "warning" not in capsys.readouterr().out
    assert (len(result.verdict.finished), len(result.standing.finished)) == (2, 2)
    after = trials(home, "small")
    assert {run.tags["pg.code"] for run in after.values()} == {code_identity()}
    assert after["V=2 seed=1"].run_id == before["V=2 seed=1"].run_id
    assert after["V=2 seed=0"].run_id != before["V=2 seed=0"].run_id
    assert "mixes" not in kept(home, "small")["note"]
    assert not kept(home, "small")["tables/comparison.csv"].startswith("code,")
    with Store.open(home) as store:
        aside = store.look(before["V=2 seed=0"].run_id)
        assert (aside.status, aside.tags["pg.kind"]) == ("FINISHED", "superseded")
        checkpoints = store.checkpoints(aside)
        assert checkpoints != store.checkpoints(after["V=2 seed=0"])
    assert checkpoints.is_dir()


def test_runs_of_before_are_of_unknown_code(
    tmp_path: Path, mixed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file, home = written(tmp_path, {"name": "older"}), mixed[1]
    play(file, home, "seeds=[7]", "experiment.epochs=2", "name=older")
    with Store.open(home) as store:
        for run in trials(home, "older").values():
            store._client.delete_tag(run.run_id, "pg.code")
    told = report(home, "older")
    assert "mixes" not in told
    play(file, home, "seeds=[7, 8]", "experiment.epochs=2", "name=older")
    printed = capsys.readouterr().out
    warning = f"warning: what runs now has code {code_identity()}"
    assert printed.index(warning) < printed.index("V=2 seed=8")
    assert "code not recorded: V=2 seed=7, V=8 seed=7" in printed
    assert kept(home, "older")["tables/comparison.csv"].count("unknown (seed 7)") == 2


def test_a_result_taken_over_keeps_its_code(mixed: tuple[Path, Path], tmp_path: Path) -> None:
    file, home = written(tmp_path), mixed[1]
    play(file, home, "seeds=[11]", "experiment.epochs=2", "name=origin")
    with Store.open(home) as store:
        for run in trials(home, "origin").values():
            store.tag(run.run_id, {"pg.code": "0123"})
    play(file, home, "seeds=[11]", "experiment.epochs=2", "name=taker")
    assert {run.tags["pg.code"] for run in trials(home, "taker").values()} == {"0123"}
    again = play(
        file, home, "seeds=[11]", "experiment.epochs=2", "name=taker", retry=Retry(rerun=True)
    )
    assert len(again.verdict.finished) == 2
    assert {run.tags["pg.code"] for run in trials(home, "taker").values()} == {code_identity()}
    origin = trials(home, "origin").values()
    assert {run.tags["pg.code"] for run in origin} == {"0123"}
    assert all(".until-" in run.tags["pg.checkpoints"] for run in origin)


def test_a_trial_continued_by_other_code_is_of_both(
    mixed: tuple[Path, Path], tmp_path: Path
) -> None:
    file, home = written(tmp_path), mixed[1]
    play(file, home, "seeds=[9]", "name=halves")
    with Store.open(home) as store:  # as if other code had been interrupted with its checkpoint
        for run in trials(home, "halves").values():
            store.tag(run.run_id, {"pg.code": "0123"})
            store.finish(run.run_id, "KILLED", "interrupted")
    play(file, home, "seeds=[9]", "name=halves")
    both = {run.tags["pg.code"] for run in trials(home, "halves").values()}
    assert both == {f"0123+{code_identity()}"}
    assert kept(home, "halves")["note"].startswith("This table mixes results of different code")
