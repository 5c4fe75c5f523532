"""Success among a fixed pool of candidates, and what the messages look like."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pg_platform.config.metrics import VAL_IMAGES
from pg_platform.data.loaders import Batch
from pg_platform.methods import Method
from pg_platform.training.worker import sum_dtype


def validate(
    method: Method, batches: Iterable[Batch], *, pool_size: int, vocab_size: int
) -> dict[str, float]:
    """Play decided messages on every batch; accuracies in pools of `pool_size` neighbours.

    The number of images is a multiple of `pool_size`. `val/top1_poolN` is the share of messages
    that find their image among N (Fig. 6), `val/reverse_top1_poolN` of images that find their
    message. Chance is 1/N. `data/val_images` is how many images these are shares of.
    """
    method.eval()
    played = [method.play((batch.speaker, batch.listener)) for batch in batches]
    method.train()
    text = torch.cat([p.text for p in played]).float()
    image = torch.cat([p.image for p in played]).float()
    sent = torch.cat([p.ids[p.gate].flatten() for p in played])
    metrics = pool_accuracy(text, image, pool_size)
    metrics[VAL_IMAGES] = float(len(text))
    metrics["msg/length"] = sent.numel() / len(text)
    return metrics | symbol_usage(sent, vocab_size)


def pool_accuracy(text: Tensor, image: Tensor, pool_size: int) -> dict[str, float]:
    """Top-1 and top-5 in both directions from (images, width) embeddings of equal norm.

    A tie earns its expected credit under random choice, so that agents that send one message
    for everything score exactly chance.
    """
    similarity = torch.bmm(
        text.unflatten(0, (-1, pool_size)), image.unflatten(0, (-1, pool_size)).transpose(1, 2)
    )  # (pools, messages, images)
    metrics = {}
    for prefix, scores in (("", similarity), ("reverse_", similarity.transpose(1, 2))):
        for k in (1, 5):
            name = f"val/{prefix}top{k}_pool{pool_size}"
            metrics[name] = top_k_credit(scores, k).mean().item()
    return metrics


def top_k_credit(scores: Tensor, k: int) -> Tensor:
    """Chance that the diagonal of (pools, rows, candidates) is among the k best of its row."""
    own = scores.diagonal(dim1=1, dim2=2).unsqueeze(2)
    better = (scores > own).sum(dim=2)
    equal = (scores == own).sum(dim=2)  # counts the diagonal itself
    return ((k - better) / equal).clamp(0, 1).to(sum_dtype(scores.device))


def symbol_usage(sent: Tensor, vocab_size: int) -> dict[str, float]:
    """Distinct symbols and entropy in bits of the symbols that were sent, (symbols,) int64."""
    counts = torch.bincount(sent, minlength=vocab_size).to(sum_dtype(sent.device))
    share = counts[counts > 0] / counts.sum()
    return {
        "msg/active_symbols": float((counts > 0).sum()),
        "msg/symbol_entropy_bits": float(-(share * share.log2()).sum()) + 0.0,
    }
