"""What a sweep is measured by and what a paper says of it, against what there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pg_platform.config.errors import Problem, meant
from pg_platform.config.metrics import wrong_metric
from pg_platform.config.yaml_tree import Branch, Items, KeyPath, Leaf, at, dotted


def unknown_metrics(root: Branch, known: Sequence[str]) -> Iterator[Problem]:
    """The metrics of the sweep file `root` and of its claims that are not in `known`."""
    for path in [("metric", "name"), *_in_claims(root, "metric")]:
        match at(root, path):
            case Leaf(place=place, value=str(name)) if why := wrong_metric(name, known):
                yield Problem(place, dotted(path), f"{why}, got {name!r}")


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
