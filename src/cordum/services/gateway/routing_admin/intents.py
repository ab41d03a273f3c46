"""What is still to be done about a topic's mapping, kept with its registration until it is.

The registration and the mapping to pools are two documents. The registration is written first, with the wanted mapping
in it; then the mapping, from what the registration says by then; then the intent goes.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

FIELD: Final = "_intent"


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping that is wanted.

    Attributes:
        id: tells one intent from another.
        pools: the pools that are to serve the topic; none takes the mapping away.
        leaves: whether the registration goes once the mapping is gone.
    """

    id: str
    pools: tuple[str, ...] = ()
    leaves: bool = False


def intent_of(entry: object) -> Intent | None:
    """The intent with a registration as stored, None when nothing is to be done."""
    stored = entry.get(FIELD) if isinstance(entry, dict) else None
    if stored is None:
        return None
    try:
        return msgspec.convert(stored, Intent)
    except msgspec.ValidationError:
        return None


def is_leaving(entry: object) -> bool:
    """Whether the registration is as good as gone."""
    intent = intent_of(entry)
    return intent is not None and intent.leaves


def with_intent(entry: Mapping[str, Any], intent: Intent) -> dict[str, Any]:
    """The registration with what is to be done about it."""
    return {**entry, FIELD: msgspec.to_builtins(intent)}


def without_intent(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The registration with nothing left to do."""
    return {name: value for name, value in entry.items() if name != FIELD}
