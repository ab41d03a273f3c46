"""Limits and cursors as lists take them (spec-gateway section 2.7)."""

from typing import Annotated, Final

from msgspec import Meta

from cordum.core.ids import Micros
from cordum.services.gateway.times import micros_of_any_unit

MAX_LIMIT: Final = 500
_MOST: Final = 2**63 - 1

Limit = Annotated[int, Meta(ge=1, description="Items wanted; more than 500 is read as 500")]
Cursor = Annotated[int, Meta(ge=0, le=_MOST, description="`next_cursor` of the page before: a time in s, ms, µs or ns")]
Moment = Annotated[int, Meta(ge=0, le=_MOST, description="A time in s, ms, µs or ns since the epoch")]


def limit_of(asked: int) -> int:
    """How many items a page holds."""
    return asked if asked < MAX_LIMIT else MAX_LIMIT


def cursor_of(asked: int | None) -> Micros | None:
    """A time given in any unit, as microseconds."""
    return None if asked is None else micros_of_any_unit(asked)
