"""Chooses what to look at by the settings, looks, and closes every connection."""

from typing import NamedTuple

from cordum.cli.boundary.finding import Finding
from cordum.cli.redis_health import cluster, single
from cordum.cli.redis_health.node import Node
from cordum.runtime.settings.redis import RedisSettings
from cordum.store.cluster import Address
from cordum.store.connection import ClientTLS, open_node, open_watcher
from cordum.store.options import StoreOptions


class Health(NamedTuple):
    """What was found; `answered` says whether any server was there to ask."""

    topology: str
    findings: list[Finding]
    answered: bool


async def examine(settings: RedisSettings, *, nodes: int, masters: int) -> Health:
    """Looks at the installation the settings name.

    Args:
        settings: `REDIS_*`, as the services read them.
        nodes: how many nodes a cluster is to have; 0 = as many as REDIS_CLUSTER_ADDRESSES lists.
        masters: how many of them are to be primaries; 0 = three or more.

    Raises:
        StoreSettingsError: the settings cannot be used.
    """
    options = StoreOptions.from_settings(settings)
    tls = ClientTLS(options.tls)
    opened: list[Node] = []

    def dial(address: Address) -> Node:
        opened.append(Node(f"{address[0]}:{address[1]}", open_node(options, tls, address)))
        return opened[-1]

    def dial_watcher(address: Address) -> Node:
        opened.append(Node(f"{address[0]}:{address[1]}", open_watcher(options, tls, address)))
        return opened[-1]

    try:
        if options.cluster:
            topology = "cluster"
            findings = await cluster.examine(options.cluster, dial, nodes=nodes, masters=masters)
        elif options.sentinels:
            topology = "sentinel"
            name = options.sentinel_master
            findings = await single.examine_sentinels(name, options.sentinels, dial, dial_watcher)
        else:
            topology = "standalone"
            opened.append(Node("REDIS_URL", open_node(options, tls)))
            findings = await single.examine_server(opened[0])
        return Health(topology, findings, any(node.has_answered for node in opened))
    finally:
        for node in opened:
            await node.link.aclose()
