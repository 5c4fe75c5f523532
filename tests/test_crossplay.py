"""Cross-play: relabelling against all permutations, who can play, where the result goes."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evals.crossplay import Options, evaluate_together, relabelled, relabelling
from pg_platform.config.experiment import Experiment
from pg_platform.evaluation.trained import Trained
from pg_platform.language.ablations import Messages
from pg_platform.store.store import Store
from pg_platform.sweep.load import Metric
from pg_platform.training.loop import train
from pg_platform.training.worker import local_worker
from tests.agents import DIGITS, agents
from tests.commands import run
from tests.small import SMALL


@given(st.integers(0, 2**31))
def test_the_relabelling_agrees_most_of_all_permutations(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randint(4, (2, 30), generator=generator)
    found = relabelling(one, other, (4, 4))
    best = max(int((torch.tensor(order)[one] == other).sum()) for order in permutations(range(4)))
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    assert int((found[one] == other).sum()) == best


@pytest.mark.parametrize("sizes", [(9, 3), (3, 9)])
def test_vocabularies_of_two_sizes_map_into_the_second(sizes: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(size, (200,), generator=generator) for size in sizes)
    found = relabelling(one, other, sizes)
    assert len(found) == sizes[0]
    assert len(found.unique()) == 3
    assert int(found.max()) < sizes[1]


def test_a_renumbered_language_is_the_same_language() -> None:
    ids = torch.randint(6, (80, 4, 2), generator=torch.Generator().manual_seed(0))
    gate = torch.ones(80, 4)
    renumbered = Messages(torch.tensor([3, 5, 0, 1, 2, 4])[ids], gate)
    assert torch.equal(relabelled(renumbered, Messages(ids, gate), (6, 6)).ids, ids)


def test_no_message_helps_to_relabel_itself() -> None:
    """Random namings of few patches agree by chance, though one map fits them far better."""
    one, other = torch.randint(50, (2, 60, 1, 1), generator=torch.Generator().manual_seed(0))
    gate = torch.ones(60, 1)
    fitted = relabelling(one, other, (50, 50))[one]
    crossed = relabelled(Messages(one, gate), Messages(other, gate), (50, 50)).ids
    assert (crossed == other).float().mean() < 0.15 < (fitted == other).float().mean()


def renumbered(original: Trained) -> Trained:
    """The same agents with the other numbers for the same symbols."""
    twin = agents({"speaker": {"patch_size": 4}})
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    twin.game.load_state_dict(original.game.state_dict())
    *_, last = twin.game.speaker.symbol.get_submodule("namer").children()
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        for tensor in (last.weight, last.bias, twin.game.listener.text.symbol_embedding):
            tensor.copy_(tensor[order])
    return twin


def test_twins_that_number_their_symbols_otherwise_understand_each_other_once_relabelled() -> None:
    original = agents({"speaker": {"patch_size": 4}})
    found = evaluate_together([("a", original), ("b", renumbered(original))], Options())
    assert found.metrics["crossplay/ami"] == pytest.approx(1)
    own = found.metrics["crossplay/top1_pool64_own"]
    assert found.metrics["crossplay/top1_pool64_relabelled"] == pytest.approx(own)
    rows = {row[:2]: row[2:] for row in found.tables["pairs"].rows}
    assert rows["a", "b"][0] != rows["a", "a"][0]


def test_runs_that_cannot_play_are_left_out_and_named() -> None:
    several = [
        ("small", agents({})),
        ("wordy", agents({"speaker": {"vocab_size": 16}})),
        ("fine", agents({"speaker": {"patch_size": 4}})),
        ("far", agents({"data": {"kind": "shapes", "count": 400, "val_fraction": 0.3}})),
    ]
    found = evaluate_together(several, Options(pools=1))
    assert "far is left out: its data differ." in found.words
    assert "small cannot talk to fine" in found.words
    rows = {row[:2]: row[2:] for row in found.tables["pairs"].rows}
    assert rows["small", "fine"] == (None, None, None)
    assert rows["small", "wordy"][0] is None
    assert rows["small", "wordy"][1] is not None
    assert "crossplay/top1_pool64_raw" not in found.metrics
    assert set(found.figures) == {"raw", "relabelled"}


def test_one_run_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="wants two runs or more"):
        evaluate_together([("a", agents({}))], Options())


def test_pg_eval_writes_the_result_to_the_run_of_the_sweep(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Store.open(home) as store:
        metric = Metric(name="val/top1_pool64", goal="maximize")
        experiment = store.experiment("pair", metric)
        parent = store.run(experiment, "pair", "pair", tags={"pg.kind": "sweep"})
        for seed in range(2):
            folder = tmp_path / str(seed)
            small = {**SMALL, "data": DIGITS, "epochs": 1, "seed": seed}
            chosen = Experiment.model_validate(small)
            place = local_worker(chosen.resources)
            train(chosen, folder, place=place, report=lambda _: None, should_stop=lambda: False)
            tags = {"pg.kind": "trial", "pg.sweep": "pair", "pg.checkpoints": str(folder)}
            one = store.run(experiment, str(seed), f"seed={seed}", parent=parent, tags=tags)
            store.finish(one, "FINISHED", "completed")
    done = run(["pg-eval", "crossplay", "pair", "--set", "pools=1"], home)
    assert done.returncode == 0, done.stderr
    assert "not stored" not in done.stdout
    again = run(["pg-eval", "crossplay", "pair", "--set", "pools=1"], home)
    assert "computed before" in again.stdout
    other = run(["pg-eval", "crossplay", "pair", "--set", "pools=2"], home)
    assert "computed before" not in other.stdout
    with Store.open(home) as store:
        metrics = store.look(parent).metrics
        assert 0 <= metrics["crossplay/ami"] <= 1
        assert "seed=1" in store.text(parent, "crossplay/pairs.csv")
        alone = store.finished_trials("pair")[0].run_id
    refused = run(["pg-eval", "crossplay", alone], home)
    assert refused.returncode == 2
    assert "give the name of a sweep" in refused.stderr
