"""What a sweep is measured by and what a paper says of it, against what there is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from pg_platform.config.metrics import AREA, EPOCHS_TO
from pg_platform.config.problems import Problem, meant, one_of
from pg_platform.config.tree import Branch, Items, KeyPath, Leaf, at, dotted

DERIVED = (AREA, EPOCHS_TO)


def unknown_metrics(root: Branch, known: Sequence[str]) -> Iterator[Problem]:
    """The metrics of the sweep file `root` and of its claims that are not in `known`."""
    for path in [("metric", "name"), *_in_claims(root, "metric")]:
        match at(root, path):
            case Leaf(place=place, value=str(name)) if why := wrong_metric(name, known):
                yield Problem(place, dotted(path), f"{why}, got {name!r}")


def wrong_metric(name: str, known: Sequence[str]) -> str | None:
    """What a name wants to be a metric or derived from one, None where it is."""
    measured, colon, derived = name.partition(":")
    if measured not in known:
        return one_of(measured, known)
    kind, _, level = derived.partition(":")
    if not colon or derived == AREA:
        return None
    if kind != EPOCHS_TO:
        near = meant(kind, DERIVED)
        return f"wants {measured}, {measured}:epochs_to:X or {measured}:area{near}"
    if not re.fullmatch(r"-?[0-9]*\.?[0-9]+(e-?[0-9]+)?", level) or not math.isfinite(float(level)):
        return f"wants a number behind epochs_to, such as {measured}:epochs_to:0.5"
    return None


def unvaried_claims(root: Branch, varied: Sequence[str]) -> Iterator[Problem]:
    """Claims about a parameter that the sweep does not vary."""
    for path in _in_claims(root, "parameter"):
        match at(root, path):
            case Leaf(place=place, value=str(key)) if key not in varied:
                why = f"is not varied by this sweep{meant(key, varied)}, got {key!r}"
                yield Problem(place, dotted(path), why)


def _in_claims(root: Branch, key: str) -> list[KeyPath]:
    claims = at(root, ("paper", "claims"))
    count = len(claims.items) if isinstance(claims, Items) else 0
    return [("paper", "claims", index, key) for index in range(count)]
