"""A quick look at two rules: often it shows that no request can match both, without any search."""

from functools import lru_cache

import msgspec

from cordum.core.policy.document import Rule
from cordum.core.policy.glob import BadGlobError, compile_glob
from cordum.core.policy.request import fold_all


class Sketch(msgspec.Struct, frozen=True):
    """For fields that have one value: the values a rule accepts. For topics: what its patterns begin with, and whether
    that is all of it."""

    values: dict[str, frozenset[str]]
    topics: tuple[tuple[str, bool], ...]


def sketch_of(rule: Rule) -> Sketch:
    match = rule.match
    values = {
        "tenant": fold_all(match.tenants),
        "capability": fold_all(match.capabilities),
        "pack_id": fold_all(match.pack_ids),
        "actor_id": fold_all(match.actor_ids),
        "actor_type": fold_all(match.actor_types),
        **{f"label {name}": frozenset({value}) for name, value in match.labels.items()},
    }
    return Sketch(
        {name: wanted for name, wanted in values.items() if wanted},
        tuple(dict.fromkeys(_beginning(pattern) for pattern in match.topics)),
    )


def apart(one: Sketch, other: Sketch) -> bool:
    """Whether certainly no request matches both."""
    few, many = (one.values, other.values) if len(one.values) <= len(other.values) else (other.values, one.values)
    for name, wanted in few.items():
        there = many.get(name)
        if there is not None and wanted.isdisjoint(there):
            return True
    if not one.topics or not other.topics:
        return False
    return not any(_may_meet(first, second) for first in one.topics for second in other.topics)


def _may_meet(first: tuple[str, bool], second: tuple[str, bool]) -> bool:
    (text, whole), (other, _) = sorted((first, second), key=lambda beginning: len(beginning[0]))
    return text == other or (other.startswith(text) and not whole)


@lru_cache(maxsize=8192)
def _beginning(pattern: str) -> tuple[str, bool]:
    try:
        glob = compile_glob(pattern)
    except BadGlobError:
        return "", False
    return glob.prefix, glob.literal
