"""One page of a list."""

from typing import Generic, TypeVar

import msgspec

from cordum.core.ids import Micros

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Items newest first, and where to go on.

    Attributes:
        items: what matched. Usually as many as asked for; more only when several carry the very same microsecond, fewer
            only at the end, or when the search was cut off (then `next_cursor` goes on from there).
        next_cursor: pass it as `cursor` for the next page; None when there is no more (spec-gateway 2.7).
    """

    items: tuple[T, ...]
    next_cursor: Micros | None = None
