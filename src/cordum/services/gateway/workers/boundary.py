"""`/api/v1/boundary/events`: what operators look at before they enforce anything (production guide section 5)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.platform import is_platform
from cordum.store.boundary import LONGEST_WINDOW, BoundaryCount


class EventsQuery(msgspec.Struct):
    """How far to look back, in seconds; what is counted comes in steps of five minutes."""

    window_seconds: Annotated[int, Meta(ge=1, le=LONGEST_WINDOW)] = 3600


class EventList(msgspec.Struct):
    """Most frequent first; `subject` is the worker, topic or schema."""

    window_seconds: int
    items: list[BoundaryCount]


async def list_events(parts: Parts, call: Call) -> Answer:
    """The counts of the last while, those of this very moment included."""
    if not is_platform(parts, call):
        raise ApiError("tenant_access_denied", "these are the whole installation's: use a key of its own tenant")
    await parts.store.boundary.write()
    found = await parts.store.boundary.within(call.query.window_seconds)
    return answer(EventList(window_seconds=call.query.window_seconds, items=found))
