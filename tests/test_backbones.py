"""ResNets against torchvision's, and the sizes of their maps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from pg_platform.game.backbones import RESNET9, RESNET18, BasicBlock, ResNet


def test_resnet18_is_torchvisions_without_its_head() -> None:
    torch.manual_seed(0)
    ours, theirs = ResNet(RESNET18, 64, 5, BasicBlock), resnet18()
    theirs.fc = nn.Identity()
    for module in ours.modules():  # running statistics and scales that hide nothing
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(2, 3, 96, 96)
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        torch.testing.assert_close(ours(images).mean((2, 3)), theirs(images), rtol=1e-4, atol=1e-4)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("halvings", range(6))
@pytest.mark.parametrize("side", [28, 33, 64])
def test_each_halving_halves_the_map_rounding_up(side: int, halvings: int) -> None:
    network = ResNet(RESNET9, 2, halvings, BasicBlock).eval()
    wanted = -(-side // 2**halvings)
    assert network(torch.zeros(1, 3, side, side)).shape == (1, 16, wanted, wanted)


def test_resnet9_has_the_size_of_the_authors() -> None:
    parameters = sum(p.numel() for p in ResNet(RESNET9, 64, 5, BasicBlock).parameters())
    assert parameters == 4_905_792  # 4.91 M measured in their PatchRank
