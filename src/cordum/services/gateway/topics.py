"""The topic registry as this gateway knows it: `cfg:system:topics`, kept in memory (spec-scheduler section 7.4)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.ids import TenantId, Topic
from cordum.core.routing.topics import TopicRegistration, TopicStatus
from cordum.runtime import boundary
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.routing_admin import intents
from cordum.store import Store

log = get_logger(__name__)

REFRESH_SECONDS: Final = 30.0
"""How old the copy may get when no word of a change arrives."""
SECOND_LOOK_SECONDS: Final = 1.0
"""How often at most an unknown topic makes us look again before it is refused."""
SHOWN_TOPICS: Final = 20


class TopicRegistry:
    """Answers whether a tenant may submit to a topic, without asking Redis."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._topics: Mapping[str, TopicRegistration] = {}
        self._revision: int | None = None
        self._read_at = float("-inf")

    async def refresh(self) -> None:
        """Reads the registry; raises StoreUnavailableError and keeps what it has when that fails."""
        document = await self._store.configs.get("system", "topics")
        self._read_at = self._clock.monotonic()
        if document is None:
            self._topics, self._revision = {}, None
        elif document.revision != self._revision:
            self._topics, self._revision = _entries(document.data), document.revision

    async def keep_fresh(self) -> None:
        """Refreshes on a timer, for ever; run as a background task."""
        while True:
            await self._clock.sleep(REFRESH_SECONDS)
            await self.try_refresh()

    async def look(self) -> None:
        """Refreshes if that has not been done for a second, for those who want to see the latest."""
        if self._clock.monotonic() - self._read_at > SECOND_LOOK_SECONDS:
            await self.refresh()

    async def try_refresh(self) -> None:
        """As `refresh`; a failure is logged, the old copy stays."""
        try:
            await self.refresh()
        except CordumError as error:
            log.warning("topic registry not refreshed", event="topics_not_refreshed", error=error.message)

    async def check(self, tenant: TenantId, topic: str) -> TopicRegistration | None:
        """The registration of a topic, if that is not disabled; None in an empty registry, which lets every topic pass.

        Raises:
            ApiError: `unknown_topic` or `topic_disabled` (400).
            StoreUnavailableError: the registry has never been read and cannot be read now.
        """
        age = self._clock.monotonic() - self._read_at
        if age == float("inf"):
            await self.refresh()
        entry = self._find(tenant, topic)
        if entry is None and self._topics and age > SECOND_LOOK_SECONDS:
            await self.try_refresh()
            entry = self._find(tenant, topic)
        if entry is not None:
            if entry.status is TopicStatus.DISABLED:
                raise ApiError("topic_disabled", f"topic {topic} is disabled")
        elif self._topics:
            boundary.record(boundary.Event.UNKNOWN_TOPIC, topic)
            log.warning("unknown_topic: submit refused", event="unknown_topic", topic=topic, tenant=tenant)
            boundary.record(boundary.Event.UNKNOWN_TOPIC, topic)
            names = sorted(entry.name for entry in self.of(tenant))
            raise invalid(
                "unknown topic",
                "unknown_topic",
                registered_topics=names[:SHOWN_TOPICS],
                truncated=len(names) > SHOWN_TOPICS,
                topics_endpoint="/api/v1/topics",
            )
        return entry

    def of(self, tenant: TenantId) -> list[TopicRegistration]:
        """The topics a tenant sees: everybody's, and its own in their place."""
        seen: dict[str, TopicRegistration] = {}
        for entry in sorted(self._topics.values(), key=lambda entry: (entry.name, entry.tenant_id)):
            if entry.tenant_id in ("", tenant):
                seen[entry.name] = entry
        return list(seen.values())

    def find(self, tenant: TenantId, topic: str) -> TopicRegistration | None:
        """The tenant's own registration of a topic, else the one for everybody."""
        return self._find(tenant, topic)

    def using(self, schema_id: str) -> list[str]:
        """The topics, of every tenant, that name this schema."""
        entries = self._topics.values()
        return sorted({entry.name for entry in entries if schema_id in (entry.input_schema_id, entry.output_schema_id)})

    @property
    def is_empty(self) -> bool:
        return not self._topics

    def _find(self, tenant: TenantId, topic: str) -> TopicRegistration | None:
        return self._topics.get(f"tenant:{tenant}:{topic}") or self._topics.get(topic)


def _entries(data: Mapping[str, Any]) -> dict[str, TopicRegistration]:
    topics: dict[str, TopicRegistration] = {}
    for key, value in data.items():
        if key.startswith("_") or intents.is_leaving(value):
            continue
        tenant, name = "", key
        if key.startswith("tenant:"):
            _, tenant, name = (*key.split(":", 2), "")[:3]
        try:
            entry = msgspec.convert(value, TopicRegistration)
        except msgspec.ValidationError as error:
            # One entry nobody can read must not open the gate to, or close it for, all others.
            log.warning("topic entry not readable", event="topic_entry_unreadable", key=key, error=str(error))
            entry = TopicRegistration(name=Topic(name), status=TopicStatus.DISABLED)
        owner = TenantId(tenant) if tenant else entry.tenant_id
        topics[f"tenant:{owner}:{entry.name}" if owner else entry.name] = msgspec.structs.replace(
            entry, tenant_id=owner
        )
    return topics
