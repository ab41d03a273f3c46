"""Changes topics and pools, each change all or nothing, whoever else changes them at the same time."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cordum.bus import Bus
from cordum.core.ids import TenantId
from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.pools import PoolsConfig, parse_stored_pools
from cordum.runtime.clock import Clock
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.services.gateway.config_changes import announce_change
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.routing_admin.intents import Intent, intent_of, with_intent, without_intent
from cordum.store import Store, StoreConflictError

SYSTEM: Final = "system"
TOPICS: Final = "topics"
DEFAULT: Final = "default"
POOLS: Final = "pools"
TRIES: Final = 12
MAX_TOPICS: Final = 2_000
MAX_POOLS: Final = 500

log = get_logger(__name__)

Entry = dict[str, Any]
"""A topic's registration as stored: fields we do not know stay."""
PoolEntry = dict[str, Any]


class Wanted:
    """What is to become of a topic.

    Attributes:
        entry: its registration, None for one that goes.
        pools: the pools that are to serve it; None leaves the mapping alone.
    """

    __slots__ = ("entry", "pools")

    def __init__(self, entry: Entry | None, pools: tuple[str, ...] | None = None) -> None:
        self.entry = entry
        self.pools = pools


TopicPlan = Callable[[Entry | None, PoolsConfig], Wanted]
"""From a registration as stored (None: there is none) and the pools to what is wanted. May be called again."""
PoolPlan = Callable[[PoolEntry | None, PoolsConfig], PoolEntry | None]
"""From a pool as stored to the pool as wanted, None to remove it. May be called again."""


class RoutingDesk:
    """Raises StoreUnavailableError when the store does not answer."""

    def __init__(self, store: Store, bus: Bus, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._ids = ids

    async def pools(self) -> PoolsConfig:
        """Every pool and every mapping as stored; raises ApiError when that cannot be read."""
        document = await self._store.configs.get(SYSTEM, DEFAULT)
        return _parsed(document.data if document else {})

    async def change_topic(self, key: str, plan: TopicPlan) -> Entry | None:
        """Changes one topic and its mapping; answers the registration there was before, None for none.

        Args:
            key: its name, `tenant:<tenant>:<name>` for a tenant's own.

        Raises:
            ApiError: what the plan raises; 409 when others were faster every time.
        """
        for _ in range(TRIES):
            document = await self._store.configs.get(SYSTEM, TOPICS)
            data, revision, meta = (document.data, document.revision, document.meta) if document else ({}, 0, None)
            pools = await self.pools()
            stored = data.get(key)
            before = without_intent(stored) if isinstance(stored, dict) else None
            if (pending := intent_of(stored)) is not None and pending.leaves:
                before = None
            wanted = plan(before, pools)
            if wanted.entry is not None and key not in data and len(data) >= MAX_TOPICS:
                raise ApiError("topic_limit_reached", f"there are {len(data)} topics; {MAX_TOPICS} are the most")
            after = self._with_intent(stored, before, wanted)
            changed = {name: value for name, value in data.items() if name != key}
            if after is not None:
                changed[key] = after
            try:
                if changed != data:
                    await self._store.configs.put(SYSTEM, TOPICS, changed, revision, meta)
            except StoreConflictError:
                continue
            if intent_of(after) is not None:
                await self.settle(key)
            await announce_change(self._bus, self._clock, SYSTEM, TOPICS)
            return before
        raise ApiError("POOL_VERSION_CONFLICT")

    def _with_intent(self, stored: Any, before: Entry | None, wanted: Wanted) -> Entry | None:
        pending = intent_of(stored)
        if wanted.entry is None:
            if wanted.pools is None:
                return None
            leaving = Intent(id=self._ids.new(), leaves=True)
            # Disabled, so that no scheduler takes its jobs any more while the mapping is taken away.
            return with_intent({**(before or {}), "status": "disabled"}, leaving)
        if wanted.pools is not None:
            return with_intent(wanted.entry, Intent(id=self._ids.new(), pools=wanted.pools))
        if pending is not None and not pending.leaves:
            return with_intent(wanted.entry, pending)
        return wanted.entry

    async def settle(self, key: str) -> None:
        """Does what a topic's intent says; nothing when it has none. Doing it twice, or at two places, does no harm."""
        for _ in range(TRIES):
            default = await self._store.configs.get(SYSTEM, DEFAULT)
            # Read after the document it is written into: an intent that came later finds that changed, and is later.
            topics = await self._store.configs.get(SYSTEM, TOPICS)
            intent = intent_of(topics.data.get(key)) if topics else None
            if intent is None:
                return
            data, revision, meta = (default.data, default.revision, default.meta) if default else ({}, 0, None)
            mapped = _with_mapping(data, key, intent.pools)
            try:
                if mapped != data:
                    await self._store.configs.put(SYSTEM, DEFAULT, mapped, revision, meta)
                await self._store.configs.update(SYSTEM, TOPICS, partial(_cleared, key, intent), tries=TRIES)
            except StoreConflictError:
                continue
            await announce_change(self._bus, self._clock, SYSTEM, DEFAULT)
            return
        raise ApiError("POOL_VERSION_CONFLICT")

    async def settle_all(self) -> int:
        """Finishes what others left undone; answers how many topics that were."""
        topics = await self._store.configs.get(SYSTEM, TOPICS)
        left = [key for key, entry in (topics.data if topics else {}).items() if intent_of(entry) is not None]
        for key in left:
            await self.settle(key)
            log.info("the mapping of a topic was finished", event="topic_mapping_settled", topic=key)
        if left:
            await announce_change(self._bus, self._clock, SYSTEM, TOPICS)
        return len(left)

    async def change_pool(self, name: str, plan: PoolPlan) -> PoolEntry | None:
        """Changes one pool; answers how it is now, None when it is gone.

        Raises:
            ApiError: what the plan raises; 400 when the result is no usable configuration; 409 when others were faster
                every time.
        """
        left: PoolEntry | None = None

        def changed(data: dict[str, Any]) -> Mapping[str, Any]:
            nonlocal left
            config = _parsed(data)
            section = dict(data.get(POOLS) or {})
            pools = dict(section.get(POOLS) or {})
            stored = pools.get(name)
            mapped = any(name in names for names in config.topics.values())
            before = dict(stored) if isinstance(stored, dict) else {} if name in pools or mapped else None
            left = plan(before, config)
            if left is None:
                pools.pop(name, None)
            else:
                pools[name] = left
            if len(pools) > MAX_POOLS:
                raise ApiError("POOL_INVALID_CONFIG", f"there are {len(pools) - 1} pools; {MAX_POOLS} are the most")
            section = {"topics": {}, **section, POOLS: pools}
            after = {**data, POOLS: section}
            _parsed(after)
            return after

        try:
            await self._store.configs.update(SYSTEM, DEFAULT, changed, tries=TRIES)
        except StoreConflictError as error:
            raise ApiError("POOL_VERSION_CONFLICT") from error
        await announce_change(self._bus, self._clock, SYSTEM, DEFAULT)
        return left

    async def topic_keys(self) -> dict[str, Entry]:
        """Every registration as stored, by its key."""
        document = await self._store.configs.get(SYSTEM, TOPICS)
        found = document.data if document else {}
        return {key: entry for key, entry in found.items() if not key.startswith("_") and isinstance(entry, dict)}


def key_of(tenant: TenantId, topic: str) -> str:
    """The key of a registration; an empty tenant stands for everybody."""
    return f"tenant:{tenant}:{topic}" if tenant else topic


def _with_mapping(data: Mapping[str, Any], topic: str, pools: tuple[str, ...]) -> dict[str, Any]:
    section = dict(data.get(POOLS) or {})
    topics = dict(section.get("topics") or {})
    before = dict(topics)
    if pools:
        topics[topic] = pools[0] if len(pools) == 1 else list(pools)
    else:
        topics.pop(topic, None)
    if topics == before:
        return dict(data)
    return {**data, POOLS: {**section, "topics": topics}}


def _cleared(key: str, done: Intent, data: dict[str, Any]) -> Mapping[str, Any]:
    intent = intent_of(data.get(key))
    if intent is None or intent.id != done.id:
        return data
    rest = {name: value for name, value in data.items() if name != key}
    return rest if intent.leaves else {**rest, key: without_intent(data[key])}


def _parsed(data: Mapping[str, Any]) -> PoolsConfig:
    section = data.get(POOLS)
    if not section:
        return PoolsConfig(topics={}, pools={})
    try:
        return parse_stored_pools(section, "cfg:system:default: pools")
    except RoutingConfigError as error:
        raise ApiError("POOL_INVALID_CONFIG", error.message) from error
