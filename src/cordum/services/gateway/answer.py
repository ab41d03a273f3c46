"""What a handler gives back, and the few shapes most of them give."""

from functools import lru_cache
from typing import Final
from urllib.parse import urlencode

import msgspec

from cordum.core.ids import Micros
from cordum.services.gateway.call import Call

_ENCODER: Final = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer; `body` is JSON, or b"" for none."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


NO_CONTENT: Final = Answer(status=204)


def answer(value: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """`value` as JSON."""
    return Answer(_ENCODER.encode(value), status, headers)


def page(call: Call, body: bytes, next_cursor: Micros | None) -> Answer:
    """A page of a list, with the `Link` header by which clients find the next one (spec-gateway section 2.7)."""
    if next_cursor is None:
        return Answer(body)
    return Answer(body, 200, (("Link", _link(call.path, tuple(call.raw_query.items()), next_cursor)),))


@lru_cache(maxsize=1024)
def _link(path: str, query: tuple[tuple[str, str], ...], cursor: Micros) -> str:
    """The next page's link; a list that is asked for again and again has the same one until it changes."""
    return f'<{path}?{urlencode({**dict(query), "cursor": str(cursor)})}>; rel="next"'
