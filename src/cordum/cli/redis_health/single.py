"""One server, and a primary watched by Sentinels."""

import asyncio
from collections.abc import Callable, Sequence

from cordum.cli.boundary.finding import Finding, judged
from cordum.cli.redis_health.node import Node, faults_of, table
from cordum.store.cluster import Address


async def examine_server(node: Node) -> list[Finding]:
    """The server of REDIS_URL."""
    if why := await node.why_silent():
        return [judged("server answers", [f"{node.name}: {why}"], "")]
    info = await node.fields("INFO", "replication") or {}
    role = [] if info.get("role") == "master" else [f"{node.name}: a replica, which takes no writes"]
    return [
        judged("server answers", [], node.name),
        judged("role", role, f"primary with {info.get('connected_slaves', '0')} replicas"),
        judged("server", await faults_of([node]), "data saved, nothing evicted"),
    ]


async def examine_sentinels(
    name: str,
    addresses: Sequence[Address],
    dial: Callable[[Address], Node],
    dial_watcher: Callable[[Address], Node],
) -> list[Finding]:
    """The Sentinels, then the primary they agree on and its replicas.

    Args:
        name: what they call the primary.
        addresses: as in REDIS_SENTINEL_ADDRESSES.
        dial: opens a server.
        dial_watcher: opens a Sentinel.
    """
    watchers = [dial_watcher(address) for address in addresses]
    faults = dict(zip(watchers, await asyncio.gather(*(one.why_silent() for one in watchers)), strict=True))
    live = [watcher for watcher, why in faults.items() if not why]
    silent = [f"{watcher.name}: {why}" for watcher, why in faults.items() if why]
    findings = [judged("Sentinels answer", silent, f"{len(live)} of {len(watchers)}")]
    wrong, primaries, replicas = [], set(), set()
    for watcher in live:
        found = table(await watcher.ask("SENTINEL", "MASTER", name))
        if not found:
            wrong.append(f"{watcher.name}: knows no primary named {name}")
            continue
        told = found[0]
        primaries.add((told.get("ip", ""), int(told.get("port", "0"))))
        if told.get("flags") != "master":
            wrong.append(f"{watcher.name}: sees the primary as {told.get('flags')}")
        quorum = await watcher.ask("SENTINEL", "CKQUORUM", name)
        if not (isinstance(quorum, str) and quorum.startswith("OK")):
            wrong.append(f"{watcher.name}: {getattr(quorum, 'message', quorum)}")
        for replica in table(await watcher.ask("SENTINEL", "REPLICAS", name)):
            replicas.add((replica.get("ip", ""), int(replica.get("port", "0"))))
            if replica.get("flags") != "slave":
                wrong.append(f"{watcher.name}: sees replica {replica.get('name')} as {replica.get('flags')}")
    if len(primaries) > 1:
        wrong.append(f"they disagree about the primary: {', '.join(f'{host}:{port}' for host, port in primaries)}")
    if live and not replicas:
        wrong.append("the primary has no replica: nobody takes over when it is lost")
    findings.append(judged("Sentinels agree", wrong, f"on the primary, with {len(replicas)} replicas"))
    for address in sorted(primaries):
        findings += await examine_server(dial(address))
    servers = [dial(address) for address in sorted(replicas)]
    findings.append(judged("replicas", await faults_of(servers), "links up"))
    return findings
