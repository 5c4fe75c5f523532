"""The form of messages, without regard to what they mean."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pg_platform.language.corpus import UNSENT, Floats, Integers, bags, dense, sent


def symbol_counts(messages: Integers, vocabulary: int) -> NDArray[np.int64]:
    """How often each symbol was sent, (vocabulary,)."""
    return np.asarray(np.bincount(sent(messages)[1], minlength=vocabulary))


def lengths(messages: Integers) -> NDArray[np.int64]:
    """Symbols in each message, (n,)."""
    return np.asarray((messages != UNSENT).sum(axis=1))


def distinct_symbols(messages: Integers) -> NDArray[np.int64]:
    """Different symbols in each message, (n,)."""
    return np.diff(bags(messages).indptr).astype(np.int64)


def zipf_exponent(counts: Integers) -> float:
    """Minus the slope of log frequency against log rank; NaN below three active symbols."""
    used = np.sort(counts[counts > 0])[::-1]
    if len(used) < 3:
        return float("nan")
    slope = np.polyfit(np.log(np.arange(1, len(used) + 1)), np.log(used), 1)[0]
    return float(-slope) + 0.0


def compressibility(messages: Integers, seed: int) -> float:
    """Bytes that zlib needs, over those for the same symbols dealt anew to the same lengths.

    Below 1: there is order in the messages. NaN where nothing was sent.
    """
    rows, symbols = sent(messages)
    if not len(symbols):
        return float("nan")
    shuffled = np.random.default_rng(seed).permutation(symbols)
    ends = np.cumsum(np.bincount(rows, minlength=len(messages)))
    return _packed(symbols, ends) / _packed(shuffled, ends)


def collisions(messages: Integers) -> float:
    """Share of images whose whole message another image has too."""
    codes, many = dense(messages)
    return float((np.bincount(codes, minlength=many)[codes] > 1).mean())


@dataclass(frozen=True)
class LengthNull:
    """Mean and variance of the number of sent patches where rank r of K is sent with r / K."""

    mean: float
    variance: float


def length_null(patches: int) -> LengthNull:
    """(K + 1) / 2, and the sum of p (1 - p): they hold for every image and language (Fig. 9b)."""
    shares: Floats = np.arange(1, patches + 1) / patches
    return LengthNull(float(shares.sum()), float((shares * (1 - shares)).sum()))


def _packed(symbols: Integers, ends: Integers) -> int:
    text = np.insert(symbols.astype(np.int64) + 1, ends, 0)  # 0 ends a message
    narrow = np.uint8 if text.max() < 256 else np.uint16 if text.max() < 65_536 else np.uint32
    return len(zlib.compress(text.astype(narrow).tobytes(), 9))
