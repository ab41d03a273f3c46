"""`/api/v1/topics`: which kinds of job there are (spec-gateway section 6).

The administrators of the installation's own tenant register topics for everybody, those of another tenant for it alone;
a tenant's own registration goes before the one for everybody.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cordum.core.ids import TenantId, Topic
from cordum.core.routing.pools import PoolsConfig
from cordum.core.routing.topics import TopicRegistration, TopicStatus
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.platform import is_platform
from cordum.services.gateway.routing_admin.desk import Entry, Wanted, key_of
from cordum.services.gateway.submit.submission import MAX_TOPIC

_NAME: Final = re.compile(r"job(?:\.[A-Za-z0-9][A-Za-z0-9_-]*)+")
_TEXTS: Final = ("pool", "input_schema_id", "output_schema_id", "pack_id")
WITHOUT_POOL: Final = frozenset({"job.guard", "job.cordum.approval-gate"})
"""Topics without workers: their jobs succeed by being allowed."""

Word = Annotated[str, Meta(max_length=256)]
Words = Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=100)]


class TopicBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A topic to register. What is left out stays as it was; "" and [] take it away."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_TOPIC)]
    pool: Word | UnsetType | None = UNSET
    input_schema_id: Word | UnsetType | None = UNSET
    output_schema_id: Word | UnsetType | None = UNSET
    pack_id: Word | UnsetType | None = UNSET
    requires: Words | UnsetType | None = UNSET
    risk_tags: Words | UnsetType | None = UNSET
    status: TopicStatus | UnsetType | None = UNSET


class TopicList(msgspec.Struct):
    """The topics the tenant may submit to; any topic when the registry is empty."""

    items: list[dict[str, Any]]
    registry_empty: bool


async def list_topics(parts: Parts, call: Call) -> Answer:
    """The registered topics of the tenant."""
    await parts.topics.look()
    items = [await _shown(parts, entry) for entry in parts.topics.of(call.tenant)]
    return answer(TopicList(items=items, registry_empty=parts.topics.is_empty))


async def show_topic(parts: Parts, call: Call) -> Answer:
    """One registered topic."""
    await parts.topics.look()
    entry = parts.topics.find(call.tenant, call.params["name"])
    if entry is None:
        raise ApiError("TOPIC_NOT_FOUND", extra={"topics_endpoint": "/api/v1/topics"})
    return answer(await _shown(parts, entry))


async def put_topic(parts: Parts, call: Call) -> Answer:
    """Registers a topic, or changes one."""
    body: TopicBody = call.body
    name = _name(body.name)
    scope = scope_of(parts, call)
    await _demand_schemas(parts, body)

    def plan(before: Entry | None, pools: PoolsConfig) -> Wanted:
        entry = _merged(before, body, name, scope)
        if scope:
            _demand_pool(entry, pools, "")
            return Wanted(entry)
        mapped = pools.topics.get(Topic(name), ())
        entry["pool"] = entry.get("pool") or (mapped[0] if body.pool is UNSET and mapped else "")
        _demand_pool(entry, pools, name)
        if not entry["pool"]:
            return Wanted(entry, () if mapped and body.pool is not UNSET else None)
        unchanged = entry["pool"] in mapped and (body.pool is UNSET or (before or {}).get("pool") == entry["pool"])
        # A topic that several pools serve keeps them until another one is named.
        return Wanted(entry, tuple(mapped) if unchanged else (entry["pool"],))

    before = await parts.routing.change_topic(key_of(scope, name), plan)
    await parts.topics.refresh()
    entry = parts.topics.find(scope or call.tenant, name)
    if entry is None:
        raise ApiError("POOL_VERSION_CONFLICT", "the topic was deleted by somebody else in the same moment")
    await parts.auditor.record(
        call.caller,
        "update" if before is not None else "create",
        resource_type="topic",
        resource_id=name,
        resource_name=name,
        extra={"pool": entry.pool, "input_schema_id": entry.input_schema_id, "status": entry.status.value},
        tenant=call.tenant,
    )
    return answer(await _shown(parts, entry), status=200 if before is not None else 201)


async def delete_topic(parts: Parts, call: Call) -> Answer:
    """Takes a topic out of the registry, and its mapping to pools with it."""
    name = call.params["name"]
    scope = scope_of(parts, call)

    def plan(before: Entry | None, pools: PoolsConfig) -> Wanted:
        if before is None:
            raise ApiError("TOPIC_NOT_FOUND")
        return Wanted(None, None if scope else ())

    try:
        await parts.routing.change_topic(key_of(scope, name), plan)
    except ApiError as error:
        if error.slug == "TOPIC_NOT_FOUND" and scope and parts.topics.find(scope, name) is not None:
            raise ApiError("tenant_access_denied", f"{name} is registered for every tenant") from error
        raise
    await parts.topics.refresh()
    await parts.auditor.record(
        call.caller, "delete", resource_type="topic", resource_id=name, resource_name=name, tenant=call.tenant
    )
    return NO_CONTENT


def scope_of(parts: Parts, call: Call) -> TenantId:
    """The tenant whose registrations a caller writes; "" for those that hold for everybody."""
    everybody = call.tenant == parts.settings.tenant_id and is_platform(parts, call)
    return TenantId("") if everybody else call.tenant


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise invalid(
            "not a topic: `job.` and parts of letters, digits, `_` and `-`, joined by dots", "TOPIC_SCHEMA_VIOLATION"
        )
    return text


def _merged(before: Entry | None, body: TopicBody, name: str, scope: TenantId) -> Entry:
    entry: Entry = {**(before or {}), "name": name}
    if scope:
        entry["tenant_id"] = scope
    for field in _TEXTS:
        if (value := getattr(body, field)) is not UNSET:
            entry[field] = (value or "").strip()
    for field in ("requires", "risk_tags"):
        if (value := getattr(body, field)) is not UNSET:
            entry[field] = list(dict.fromkeys(word.strip() for word in value or () if word.strip()))
    if body.status is not UNSET:
        entry["status"] = (body.status or TopicStatus.ACTIVE).value
    try:
        msgspec.convert(entry, TopicRegistration)
    except msgspec.ValidationError as error:
        raise invalid(f"what is stored of this topic cannot be read: {error}", "TOPIC_SCHEMA_VIOLATION") from None
    return entry


def _demand_pool(entry: Entry, pools: PoolsConfig, name: str) -> None:
    """A pool that exists; none only for a topic that is disabled or has no workers by its nature."""
    pool = entry.get("pool")
    if pool:
        if pool not in pools.pools:
            known = ", ".join(sorted(pools.pools)[:20])
            raise ApiError("POOL_NOT_FOUND", f"there is no pool {pool}; pools are {known or 'none'}")
    elif name and entry.get("status") != TopicStatus.DISABLED and name not in WITHOUT_POOL:
        raise invalid("name the pool whose workers serve the topic, or disable it", "TOPIC_SCHEMA_VIOLATION")


async def _demand_schemas(parts: Parts, body: TopicBody) -> None:
    given = (body.input_schema_id, body.output_schema_id)
    named = {name.strip() for name in given if isinstance(name, str) and name.strip()}
    missing = sorted(named - await parts.store.schemas.known(sorted(named))) if named else []
    if missing:
        raise ApiError(
            "CONFIG_SCHEMA_NOT_FOUND",
            f"no schema {missing[0]} is registered: register it with POST /api/v1/schemas first",
        )


async def _shown(parts: Parts, entry: TopicRegistration) -> dict[str, Any]:
    served = (await parts.fleet.snapshot()).topics.get(entry.name)
    return {
        **msgspec.to_builtins(entry),
        "pool": entry.pool or (served.pool if served else ""),
        "input_schema_id": entry.input_schema_id,
        "output_schema_id": entry.output_schema_id,
        "pack_id": entry.pack_id,
        "requires": list(entry.requires),
        "risk_tags": list(entry.risk_tags),
        "status": entry.status.value,
        "active_worker_count": served.workers if served else 0,
    }
