"""The recipes: their differences in print, and the official one against what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from pg_platform.config.overrides import load_recipe
from pg_platform.config.paths import RECIPES, recipe_names
from pg_platform.methods import build
from tests.commands import run


@pytest.fixture(scope="module")
def official() -> nn.Module:
    return build(load_recipe("official"))


@pytest.mark.parametrize(
    ("module", "millions"),
    [
        ("speaker.symbol.tokens", 5.94),
        ("speaker.symbol.namer", 0.25),
        ("speaker.gates.rank", 4.91),
        ("listener.vision", 11.18),
        ("listener.text.blocks", 5.34),
        ("listener.vision_head listener.wide.image", 22.61),
        ("listener.text_head listener.wide.text", 21.96),
    ],
)
def test_the_official_modules_have_the_sizes_of_the_authors(
    official: nn.Module, module: str, millions: float
) -> None:
    """As measured in the authors' code."""
    modules = (official.get_submodule(name) for name in module.split())
    parameters = sum(p.numel() for each in modules for p in each.parameters())
    assert round(parameters / 1e6, 2) == millions


def test_the_official_method_has_72_million_parameters(official: nn.Module) -> None:
    assert round(sum(p.numel() for p in official.parameters()) / 1e6, 1) == 72.2


def test_the_official_gate_is_soft_and_its_probabilities_moderate(official: nn.Module) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        gate, _ = official.get_submodule("speaker.gates")(images, None)
    assert gate.shape == (2, 49)
    assert 0.28 - 0.01 < gate.min() <= gate.max() < 0.73 + 0.01
    assert len(set(gate.flatten().tolist())) > 90  # ties of the soft ranks apart


def test_two_recipes_are_told_apart_key_by_key(tmp_path: Path) -> None:
    done = run(["pg-train", "--show-recipe", "official", "--against", "paper"], tmp_path)
    assert done.returncode == 0
    head, *lines = [line.split() for line in done.stdout.splitlines()]
    assert head == ["key", "official", "paper"]
    assert ["speaker.gate.sample", '"soft"', '"hard"'] in lines
    assert ["optimizer.momentum", "-", "0.9"] in lines
    assert ["contrast.gather", '"detached"', '"whole"'] in lines
    same = run(["pg-train", "--show-recipe", "paper", "--against", "paper"], tmp_path)
    assert same.stdout.split() == ["key", "paper", "paper"]


def test_an_unknown_recipe_is_refused_with_a_guess(tmp_path: Path) -> None:
    done = run(["pg-train", "--show-recipe", "offical"], tmp_path)
    assert done.returncode == 2
    assert "did you mean 'official'?" in done.stderr


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize(
    "key", ["speaker.symbol", "speaker.rank", "speaker.gate", "listener.vision", "optimizer"]
)
def test_a_recipe_names_the_kind_whose_keys_it_sets(name: str, key: str) -> None:
    """Another kind in a file then replaces the section, and takes over no key that it has not."""
    section = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    for part in key.split("."):
        section = section.get(part) or {}
    assert not section or "kind" in section
