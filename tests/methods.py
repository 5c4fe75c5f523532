"""Every method and part of one that an experiment can choose, for the tests of their contract."""

from __future__ import annotations

from typing import Any

SMALL_VIT = {"kind": "vit", "width": 16, "depth": 1, "heads": 2}
METHODS: dict[str, dict[str, Any]] = {
    "patch_game": {},
    "affine symbols": {"speaker": {"symbol": {"kind": "affine", "hidden": None}}},
    "vit symbols": {"speaker": {"symbol": SMALL_VIT}},
    "mobilenet rank": {"speaker": {"rank": {"kind": "mobilenet_v3_small", "width": None}}},
    "vit rank": {"speaker": {"rank": SMALL_VIT}},
    "soft gate": {
        "speaker": {
            "gate": {"sample": "soft", "law": "difference"},
            "soft_rank": {"normalize": False},
        },
        "listener": {"text": {"unsent": "scaled"}},
    },
    "top-k gate": {"speaker": {"gate": {"kind": "top_k"}}},
    "adaptive gate": {"speaker": {"gate": {"kind": "adaptive"}}},
    "all patches": {"speaker": {"gate": {"kind": "all"}}},
    "random patches": {"speaker": {"gate": {"kind": "random_k"}}},
    "post-norm text": {"listener": {"text": {"norm": "post", "activation": "relu"}}},
    "wide heads": {"listener": {"head": {"wide": 256}}},
    "resnet50 vision": {"listener": {"vision": {"kind": "resnet50"}}},
    "conv4 vision": {"listener": {"vision": {"kind": "conv4"}}},
    "conv4 vision, pooled": {"listener": {"vision": {"kind": "conv4", "pool": "mean"}}},
    "conv3 rank": {"speaker": {"rank": {"kind": "conv3"}}},
    "vit vision": {"listener": {"vision": SMALL_VIT}},
}
"""What a small experiment changes to get each method."""
