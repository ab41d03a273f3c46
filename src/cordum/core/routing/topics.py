"""The topic registry: which topics exist, for everybody or for one tenant (spec-scheduler 7.4)."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.strict import convert


class TopicStatus(StrEnum):
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    DISABLED = "disabled"


class TopicRegistration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One topic as `cfg:system:topics` holds it. Fields we do not know are left alone: other tools write them too."""

    name: Topic
    tenant_id: TenantId = TenantId("")
    pool: PoolName = PoolName("")
    input_schema_id: str = ""
    output_schema_id: str = ""
    pack_id: str = ""
    requires: tuple[str, ...] = ()
    risk_tags: tuple[str, ...] = ()
    status: TopicStatus = TopicStatus.ACTIVE


class TopicRegistry:
    """Every registered topic, by tenant and name."""

    def __init__(self, registrations: Mapping[tuple[TenantId, Topic], TopicRegistration]) -> None:
        self._registrations = dict(registrations)

    def __len__(self) -> int:
        return len(self._registrations)

    def find(self, tenant: TenantId, topic: Topic) -> TopicRegistration | None:
        """The tenant's own registration of a topic, else the one for everybody."""
        return self._registrations.get((tenant, topic)) or self._registrations.get((TenantId(""), topic))

    def admits(self, tenant: TenantId, topic: Topic) -> bool:
        """Whether a job on `topic` may be scheduled; with nothing registered at all, every topic may."""
        if not self._registrations:
            return True
        found = self.find(tenant, topic)
        return found is not None and found.status is not TopicStatus.DISABLED


def parse_topics(data: Mapping[str, object], source: str) -> TopicRegistry:
    """The registry from the `data` of `cfg:system:topics`: keys are names, or `tenant:<tenant>:<name>`.

    Raises:
        RoutingConfigError: an entry is not a registration.
    """
    found: dict[tuple[TenantId, Topic], TopicRegistration] = {}
    for key, value in data.items():
        registration = convert(value, TopicRegistration, f"{source}: {key}")
        found[registration.tenant_id, registration.name] = registration
    return TopicRegistry(found)


def registrations_from_pools(topics: Mapping[Topic, tuple[PoolName, ...]]) -> dict[str, object]:
    """What an empty registry is filled with once: every topic that has a pool."""
    return {topic: msgspec.to_builtins(TopicRegistration(name=topic, pool=pools[0])) for topic, pools in topics.items()}
