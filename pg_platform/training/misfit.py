"""Why tensors cannot be the weights of a network, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """The first tensor that has another shape, is missing or is one too many; how many more.

    None where all fit.
    """
    own = network.state_dict()
    wrong = [
        f"{name} is {tuple(state[name].shape)} and not {tuple(wanted.shape)}"
        for name, wanted in own.items()
        if name in state and state[name].shape != wanted.shape
    ]
    wrong += [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{_shown(name)} is one too many" for name in state if name not in own]
    if not wrong:
        return None
    others = f", and {len(wrong) - 1} tensors more do not fit" if len(wrong) > 1 else ""
    return f"{wrong[0]}{others}"


def _shown(name: object) -> str:
    """A name out of a file that anybody may have written, without what a terminal would obey."""
    return str(name).encode("unicode_escape").decode()
