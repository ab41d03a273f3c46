"""`/api/v1/workers` and `/api/v1/topics` (spec-gateway section 6)."""

from typing import Any

import msgspec

from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.parts import Parts


class WorkerList(msgspec.Struct):
    """Every worker that is or was lately there."""

    items: list[dict[str, Any]]


class TopicList(msgspec.Struct):
    """The topics the tenant may submit to; any topic when the registry is empty."""

    items: list[dict[str, Any]]
    registry_empty: bool


async def list_workers(parts: Parts, call: Call) -> Answer:
    """Every worker."""
    return answer(WorkerList(items=await parts.fleet.workers()))


async def show_worker(parts: Parts, call: Call) -> Answer:
    """One worker."""
    for worker in await parts.fleet.workers():
        if worker["worker_id"] == call.params["worker_id"]:
            return answer(worker)
    raise ApiError("worker_not_found")


async def list_topics(parts: Parts, call: Call) -> Answer:
    """The registered topics of the tenant."""
    await parts.topics.look()
    by_topic = (await parts.fleet.snapshot()).topics
    items = []
    for entry in parts.topics.of(call.tenant):
        shown = msgspec.to_builtins(entry)
        served = by_topic.get(entry.name)
        shown["active_worker_count"] = served.workers if served else 0
        shown["status"] = entry.status.value
        items.append(shown)
    return answer(TopicList(items=items, registry_empty=parts.topics.is_empty))
