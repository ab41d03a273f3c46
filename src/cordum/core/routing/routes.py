"""Where the jobs of a topic may go: pools, registry and timeouts put together, swapped as one when they change."""

from collections.abc import Iterable, Mapping

import msgspec

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.pools import PoolsConfig, PoolStatus
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.core.routing.topics import TopicRegistry

NO_POOLS: tuple[PoolName, ...] = ()


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent view of the routing configuration.

    Attributes:
        by_topic: the active pools of each topic.
        offers: what each pool's workers offer, folded for comparison.
        revision: rises with every change, to tell two views apart in logs.
    """

    by_topic: Mapping[Topic, tuple[PoolName, ...]]
    offers: Mapping[PoolName, frozenset[str]]
    registry: TopicRegistry
    timeouts: TimeoutsConfig
    revision: str = ""

    def pools_for(self, tenant: TenantId, topic: Topic) -> tuple[PoolName, ...]:
        """The pools that may serve a job, empty when none does: the mapping first, else the registration's own pool."""
        pools = self.by_topic.get(topic)
        if pools is not None:
            return pools
        registered = self.registry.find(tenant, topic)
        return (registered.pool,) if registered is not None and registered.pool in self.offers else NO_POOLS

    def offering(self, pools: tuple[PoolName, ...], requires: Iterable[str]) -> tuple[PoolName, ...]:
        """Those of `pools` whose workers offer everything a job requires."""
        needed = {folded for need in requires if (folded := fold(need))}
        if not needed:
            return pools
        return tuple(pool for pool in pools if needed <= self.offers.get(pool, frozenset()))


def compile_routes(pools: PoolsConfig, registry: TopicRegistry, timeouts: TimeoutsConfig, revision: str = "") -> Routes:
    """The view of one configuration; pools that drain or are inactive get no new jobs and so are left out."""
    active = {name for name, pool in pools.pools.items() if pool.status is PoolStatus.ACTIVE}
    return Routes(
        by_topic={
            topic: serving
            for topic, names in pools.topics.items()
            if (serving := tuple(name for name in names if name in active))
        },
        offers={name: frozenset(map(fold, pools.pools[name].requires)) for name in active},
        registry=registry,
        timeouts=timeouts,
        revision=revision,
    )


def fold(capability: str) -> str:
    """Capabilities are compared without regard to case and surrounding blanks."""
    return capability.strip().casefold()
