"""Pools and the topics mapped to them: `config/pools.yaml` (spec-scheduler 7.1)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from cordum.core.ids import PoolName, Topic
from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.strict import convert


class PoolStatus(StrEnum):
    """Whether a pool takes new jobs: only an active one does."""

    ACTIVE = "active"
    DRAINING = "draining"
    INACTIVE = "inactive"


class Pool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One group of workers.

    Attributes:
        requires: the capabilities its workers offer; what a job requires must all be among them.
        status: absent means active.
    """

    requires: tuple[str, ...] = ()
    status: PoolStatus = PoolStatus.ACTIVE
    description: str = ""
    drain_started_at: str = ""
    drain_timeout_seconds: int = 0


DRAIN_TIMEOUT: Final = 300
MOST_DRAIN_TIMEOUT: Final = 3600
"""Seconds a pool drains before it counts as inactive: unless it says so, and at the most (spec-scheduler 7.1)."""


def status_at(pool: Pool, now: float) -> PoolStatus:
    """How a pool stands at a moment (Unix seconds): one that has drained for longer than it may is inactive.

    Neither gets new jobs and the running ones of both come to their end, so this matters to those who look, not to
    placing. A start that cannot be read leaves the pool draining.
    """
    if pool.status is not PoolStatus.DRAINING:
        return pool.status
    try:
        started = datetime.fromisoformat(pool.drain_started_at)
    except ValueError:
        return pool.status
    if started.tzinfo is None:
        started = started.replace(tzinfo=UTC)
    allowed = min(pool.drain_timeout_seconds or DRAIN_TIMEOUT, MOST_DRAIN_TIMEOUT)
    return PoolStatus.INACTIVE if now >= started.timestamp() + allowed else pool.status


class PoolsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Every pool, and for each topic the pools that serve it, in order of writing."""

    topics: Mapping[Topic, tuple[PoolName, ...]]
    pools: Mapping[PoolName, Pool]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    topics: dict[str, str | list[str]]
    pools: dict[str, Pool | None] = {}


def parse_pools(data: object, source: str) -> PoolsConfig:
    """The pools and topics of a parsed YAML or JSON document.

    Args:
        data: a mapping with `topics` (topic to a pool name or a list of them) and `pools` (name to settings).
        source: named in every error.

    Raises:
        RoutingConfigError: an unknown key, a wrong type, no topics, or a topic without a pool.
    """
    if data is None:
        raise RoutingConfigError(f"{source}: the file is empty; it needs `topics`")
    config = parse_stored_pools(data, source)
    if not config.topics:
        raise RoutingConfigError(f"{source}: topics: must map at least one topic to a pool")
    return config


def parse_stored_pools(data: object, source: str) -> PoolsConfig:
    """As `parse_pools`, of what is kept in the store: there operators may have taken away the last topic.

    Raises:
        RoutingConfigError: an unknown key, a wrong type, or a topic without a pool.
    """
    file = convert(data, _File, source)
    pools = {PoolName(_named(name, "pools", source)): pool or Pool() for name, pool in file.pools.items()}
    for name, pool in pools.items():
        if pool.drain_timeout_seconds < 0:
            raise RoutingConfigError(f"{source}: pools.{name}.drain_timeout_seconds: must not be negative")
    topics: dict[Topic, tuple[PoolName, ...]] = {}
    for topic, target in file.topics.items():
        names = [target] if isinstance(target, str) else target
        if not names:
            raise RoutingConfigError(f"{source}: topics.{topic}: needs a pool name or a non-empty list of them")
        served_by = tuple(dict.fromkeys(PoolName(_named(name, f"topics.{topic}", source)) for name in names))
        topics[Topic(_named(topic, "topics", source))] = served_by
        for name in served_by:
            pools.setdefault(name, Pool())
    return PoolsConfig(topics=topics, pools=pools)


def pools_data(config: PoolsConfig) -> dict[str, object]:
    """The configuration as plain data, in the file's own shape: what is kept under `cfg:system:default`."""
    return {
        "topics": {topic: names[0] if len(names) == 1 else list(names) for topic, names in config.topics.items()},
        "pools": {name: msgspec.to_builtins(pool) for name, pool in config.pools.items()},
    }


def with_missing(stored: PoolsConfig, from_file: PoolsConfig) -> PoolsConfig:
    """What a changed file adds to what is stored: missing keys only, so that an operator's overlay wins."""
    return PoolsConfig(
        topics={**from_file.topics, **stored.topics},
        pools={**from_file.pools, **stored.pools},
    )


def _named(name: str, where: str, source: str) -> str:
    if not name or name != name.strip():
        raise RoutingConfigError(f"{source}: {where}: {name!r} is not a name (empty, or blanks around it)")
    return name
