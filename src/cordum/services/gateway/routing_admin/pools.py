"""`/api/v1/pools`: which groups of workers there are, and which topics they serve (spec-gateway section 6).

Pools bind every tenant, so only the installation's own administrators change them.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cordum.core.ids import PoolName, Topic
from cordum.core.routing.lanes import lane_named
from cordum.core.routing.pools import DRAIN_TIMEOUT, MOST_DRAIN_TIMEOUT, Pool, PoolsConfig, PoolStatus, status_at
from cordum.core.routing.snapshot import FleetSnapshot, PoolEntry
from cordum.runtime.clock import unix_micros
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.platform import is_platform
from cordum.services.gateway.routing_admin import desk
from cordum.services.gateway.routing_admin.desk import Entry, Wanted
from cordum.services.gateway.times import rfc3339

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
_DRAIN: Final = ("drain_started_at", "drain_timeout_seconds")

Words = Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=100)]
Description = Annotated[str, Meta(max_length=2_048)]


class PoolBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A pool to create. `requires`: the capabilities its workers offer."""

    requires: Words = []
    description: Description = ""


class PoolChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to change of a pool; what is left out stays as it is."""

    requires: Words | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    status: PoolStatus | UnsetType = UNSET


class DrainBody(msgspec.Struct, forbid_unknown_fields=True):
    """How long running jobs may take to end."""

    timeout_seconds: Annotated[int, Meta(ge=1, le=MOST_DRAIN_TIMEOUT)] = DRAIN_TIMEOUT


class DeleteQuery(msgspec.Struct):
    """Query of a deletion."""

    force: Annotated[bool, Meta(description="true: also with topics, workers or jobs waiting, if inactive")] = False


class PoolList(msgspec.Struct):
    """Every pool, configured or only known by its workers."""

    items: list[dict[str, Any]]


async def list_pools(parts: Parts, call: Call) -> Answer:
    """Every pool."""
    config = await parts.routing.pools()
    seen = await parts.fleet.snapshot()
    names = sorted({*config.pools, *seen.pools})
    return answer(PoolList(items=[_shown(parts, PoolName(name), config, seen) for name in names]))


async def show_pool(parts: Parts, call: Call) -> Answer:
    """One pool with its workers."""
    name = PoolName(call.params["name"])
    config = await parts.routing.pools()
    seen = await parts.fleet.snapshot()
    workers = [worker for worker in await parts.fleet.workers() if worker["pool"] == name]
    if name not in config.pools and name not in seen.pools and not workers:
        raise ApiError("POOL_NOT_FOUND")
    shown = _shown(parts, name, config, seen)
    return answer({**shown, "workers": workers, "worker_count": shown["workers"]})


async def create_pool(parts: Parts, call: Call) -> Answer:
    """A new pool."""
    demand_platform(parts, call)
    name = _name(call.params["name"])
    body: PoolBody = call.body or PoolBody()

    def plan(before: desk.PoolEntry | None, config: PoolsConfig) -> desk.PoolEntry:
        if before is not None:
            raise ApiError("POOL_NAME_CONFLICT")
        return _without_empty({"requires": _words(body.requires), "description": body.description})

    made = await parts.routing.change_pool(name, plan)
    await _record(parts, call, "create", name)
    return answer(_configured(name, made), status=201)


async def change_pool(parts: Parts, call: Call) -> Answer:
    """Changes a pool."""
    demand_platform(parts, call)
    name = call.params["name"]
    body: PoolChange = call.body
    now = rfc3339(parts.clock.now())

    def plan(before: desk.PoolEntry | None, config: PoolsConfig) -> desk.PoolEntry:
        if before is None:
            raise ApiError("POOL_NOT_FOUND")
        after = dict(before)
        if body.requires is not UNSET:
            after["requires"] = _words(body.requires)
        if body.description is not UNSET:
            after["description"] = body.description
        if body.status is not UNSET:
            after = _standing(after, body.status, now, DRAIN_TIMEOUT)
        return _without_empty(after)

    made = await parts.routing.change_pool(name, plan)
    await _record(parts, call, "update", name, status=str((made or {}).get("status", "active")))
    return answer(_configured(name, made))


async def drain_pool(parts: Parts, call: Call) -> Answer:
    """Gives a pool no new jobs; once its running ones have ended, or time is up, it is inactive."""
    demand_platform(parts, call)
    name = call.params["name"]
    body: DrainBody = call.body or DrainBody()
    now = rfc3339(parts.clock.now())

    def plan(before: desk.PoolEntry | None, config: PoolsConfig) -> desk.PoolEntry:
        if before is None:
            raise ApiError("POOL_NOT_FOUND")
        return _standing(before, PoolStatus.DRAINING, now, body.timeout_seconds)

    made = await parts.routing.change_pool(name, plan) or {}
    await _record(parts, call, "drain", name, status="draining")
    return answer({"name": name, "status": "draining", **{field: made.get(field) for field in _DRAIN}})


async def delete_pool(parts: Parts, call: Call) -> Answer:
    """Removes a pool nobody uses; with force also one that is inactive."""
    demand_platform(parts, call)
    name = PoolName(call.params["name"])
    query: DeleteQuery = call.query
    config = await parts.routing.pools()
    pool = config.pools.get(name)
    if pool is None:
        raise ApiError("POOL_NOT_FOUND")
    served = [topic for topic, names in config.topics.items() if name in names]
    registered = [key for key, entry in (await parts.routing.topic_keys()).items() if entry.get("pool") == name]
    workers = [worker["worker_id"] for worker in await parts.fleet.workers() if worker["pool"] == name]
    waiting = await _waiting(parts, name)
    status = status_at(pool, parts.clock.now())
    if served or registered or workers or waiting:
        topics = sorted({*served, *registered})
        if not query.force or status is not PoolStatus.INACTIVE:
            raise _in_use(name, status, topics, workers, waiting, forced=query.force)
        for key in topics:
            await parts.routing.change_topic(key, _unmapping(name, required=False))

    def plan(before: desk.PoolEntry | None, config: PoolsConfig) -> None:
        if before is None:
            raise ApiError("POOL_NOT_FOUND")
        if any(name in names for names in config.topics.values()):
            raise ApiError("POOL_IN_USE", f"a topic was mapped to {name} in the same moment")

    await parts.routing.change_pool(name, plan)
    await parts.topics.refresh()
    await _record(parts, call, "delete", name, forced=str(query.force).lower())
    return NO_CONTENT


async def map_topic(parts: Parts, call: Call) -> Answer:
    """Lets a pool serve a topic, besides those that do already."""
    demand_platform(parts, call)
    name, topic = call.params["name"], call.params["topic"]

    def plan(before: Entry | None, config: PoolsConfig) -> Wanted:
        if PoolName(name) not in config.pools:
            raise ApiError("POOL_NOT_FOUND")
        if before is None:
            raise ApiError("TOPIC_NOT_FOUND", f"{topic} is not registered: register it with POST /api/v1/topics first")
        pools = tuple(dict.fromkeys((*_serving(before, topic, config), name)))
        return Wanted({**before, "pool": before.get("pool") or name}, pools)

    await parts.routing.change_topic(topic, plan)
    await parts.topics.refresh()
    await _record(parts, call, "map_topic", name, topic=topic)
    return NO_CONTENT


async def unmap_topic(parts: Parts, call: Call) -> Answer:
    """Lets a pool serve a topic no longer."""
    demand_platform(parts, call)
    name, topic = PoolName(call.params["name"]), call.params["topic"]
    await parts.routing.change_topic(topic, _unmapping(name, required=True))
    await parts.topics.refresh()
    await _record(parts, call, "unmap_topic", name, topic=topic)
    return NO_CONTENT


def demand_platform(parts: Parts, call: Call) -> None:
    """Raises ApiError 403 for the callers of any tenant but the installation's own."""
    if not is_platform(parts, call):
        raise ApiError(
            "tenant_access_denied",
            f"pools bind every tenant: use a key of the tenant {parts.settings.tenant_id}, or one with "
            "allow_cross_tenant",
        )


def _unmapping(name: PoolName, *, required: bool) -> desk.TopicPlan:
    def plan(before: Entry | None, config: PoolsConfig) -> Wanted:
        if before is None:
            raise ApiError("TOPIC_NOT_FOUND")
        topic = str(before.get("name", ""))
        serving = _serving(before, topic, config)
        if required and name not in serving:
            raise ApiError("TOPIC_NOT_FOUND", f"{topic} is not mapped to the pool {name}")
        left = tuple(pool for pool in serving if pool != name)
        entry = {**before, "pool": (left[0] if left else "") if before.get("pool") == name else before.get("pool", "")}
        return Wanted(entry, None if before.get("tenant_id") else left)

    return plan


def _serving(entry: Entry, topic: str, config: PoolsConfig) -> tuple[str, ...]:
    """The pools that serve a topic now: those of the mapping, else the registration's own."""
    mapped = config.topics.get(Topic(topic))
    if mapped is not None:
        return tuple(mapped)
    return (str(entry["pool"]),) if entry.get("pool") else ()


def _standing(pool: Mapping[str, Any], status: PoolStatus, now: str, timeout: int) -> desk.PoolEntry:
    """The pool with this status, and what belongs to it."""
    rest = {field: value for field, value in pool.items() if field not in ("status", *_DRAIN)}
    if status is PoolStatus.ACTIVE:
        return rest
    if status is PoolStatus.INACTIVE:
        return {**rest, "status": status.value}
    return {**rest, "status": status.value, "drain_started_at": now, "drain_timeout_seconds": timeout}


def _shown(parts: Parts, name: PoolName, config: PoolsConfig, seen: FleetSnapshot) -> dict[str, Any]:
    pool = config.pools.get(name, Pool())
    count = seen.pools.get(name, PoolEntry())
    return {
        "name": name,
        "workers": count.workers,
        "active_jobs": count.active_jobs,
        "capacity": count.capacity,
        "utilization": round(count.active_jobs / count.capacity, 4) if count.capacity else 0.0,
        "topics": sorted(topic for topic, names in config.topics.items() if name in names),
        "status": status_at(pool, parts.clock.now()).value,
        "description": pool.description,
        "requires": list(pool.requires),
        **({field: getattr(pool, field) for field in _DRAIN} if pool.status is PoolStatus.DRAINING else {}),
    }


def _configured(name: str, made: Mapping[str, Any] | None) -> dict[str, Any]:
    pool = made or {}
    return {"name": name, "status": "active", "requires": [], "description": "", **pool}


async def _waiting(parts: Parts, name: PoolName) -> int:
    queues = await parts.store.parked.queues(unix_micros(parts.clock))
    return sum(queue.count for lane, queue in queues.items() if lane_named(lane).home == name)


def _in_use(
    name: str, status: PoolStatus, topics: list[str], workers: list[str], waiting: int, *, forced: bool
) -> ApiError:
    needs = (
        f"{name} is {status.value}: drain it first, or set it inactive"
        if forced
        else f"{name} is in use; take its topics away and stop its workers, or delete it with force=true once inactive"
    )
    return ApiError(
        "POOL_IN_USE",
        needs,
        extra={
            "message": needs,
            "pool": name,
            "pool_status": status.value,
            "queued_jobs": waiting,
            "agent_ids": workers[:100],
            "topics": topics[:100],
        },
    )


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise invalid(
            "not a pool name: 3 to 63 lower-case letters, digits and single hyphens, none at either end",
            "POOL_INVALID_CONFIG",
        )
    return text


def _words(words: list[str]) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in words if word.strip()))


def _without_empty(pool: Mapping[str, Any]) -> desk.PoolEntry:
    return {field: value for field, value in pool.items() if value not in ("", [], None)}


async def _record(parts: Parts, call: Call, action: str, name: str, **extra: str) -> None:
    await parts.auditor.record(
        call.caller,
        action,
        resource_type="pool",
        resource_id=name,
        resource_name=name,
        extra=extra,
        tenant=call.tenant,
    )
