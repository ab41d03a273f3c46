"""Where the jobs of a topic may go: pools, registry and timeouts put together, swapped as one when they change."""

from collections.abc import Iterable, Mapping

import msgspec

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.pools import PoolsConfig, PoolStatus
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.core.routing.topics import TopicRegistry
from cordum.core.routing.workers import fold_all

NO_POOLS: tuple[PoolName, ...] = ()


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent view of the routing configuration.

    Attributes:
        by_topic: the active pools of each topic.
        offers: what each pool's workers offer, folded for comparison.
        lanes: for each pool, the first pools of the topics it serves: jobs that wait do so under the first one's name.
        serving: the reverse: for each such first pool, every pool that can take what waits there.
        revision: a digest of the configuration, to tell two views apart.
    """

    by_topic: Mapping[Topic, tuple[PoolName, ...]]
    offers: Mapping[PoolName, frozenset[str]]
    lanes: Mapping[PoolName, frozenset[PoolName]]
    serving: Mapping[PoolName, frozenset[PoolName]]
    registry: TopicRegistry
    timeouts: TimeoutsConfig
    revision: str = ""

    def pools_for(self, tenant: TenantId, topic: Topic) -> tuple[PoolName, ...]:
        """The pools that may serve a job, empty when none does.

        A tenant's own registration goes before the mapping, which is everybody's, and that before the pool of the
        registration for everybody.
        """
        registered = self.registry.find(tenant, topic)
        pool = registered.pool if registered is not None else ""
        if registered is None or not registered.tenant_id or not pool:
            pools = self.by_topic.get(topic)
            if pools is not None:
                return pools
        return (PoolName(pool),) if pool in self.offers else NO_POOLS

    def requires_of(self, tenant: TenantId, topic: Topic) -> tuple[str, ...]:
        """What every job of a topic requires, by its registration."""
        registered = self.registry.find(tenant, topic)
        return registered.requires if registered is not None else ()

    def offering(self, pools: tuple[PoolName, ...], requires: Iterable[str]) -> tuple[PoolName, ...]:
        """Those of `pools` whose workers offer everything a job requires."""
        needed = fold_all(requires)
        if not needed:
            return pools
        return tuple(pool for pool in pools if needed <= self.offers.get(pool, frozenset()))


def compile_routes(pools: PoolsConfig, registry: TopicRegistry, timeouts: TimeoutsConfig, revision: str = "") -> Routes:
    """The view of one configuration; pools that drain or are inactive get no new jobs and so are left out."""
    active = {name for name, pool in pools.pools.items() if pool.status is PoolStatus.ACTIVE}
    by_topic = {
        topic: kept
        for topic, names in pools.topics.items()
        if (kept := tuple(name for name in names if name in active))
    }
    lanes: dict[PoolName, set[PoolName]] = {name: {name} for name in active}
    serving: dict[PoolName, set[PoolName]] = {name: {name} for name in active}
    for names in by_topic.values():
        serving[names[0]].update(names)
        for name in names:
            lanes[name].add(names[0])
    return Routes(
        by_topic=by_topic,
        lanes={name: frozenset(firsts) for name, firsts in lanes.items()},
        serving={name: frozenset(all_of_it) for name, all_of_it in serving.items()},
        offers={name: fold_all(pools.pools[name].requires) for name in active},
        registry=registry,
        timeouts=timeouts,
        revision=revision,
    )
