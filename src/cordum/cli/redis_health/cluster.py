"""A cluster: asked node by node, because each knows its own migrations and each may see another cluster."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cordum.cli.boundary.finding import Finding, judged
from cordum.cli.redis_health.node import Node, faults_of
from cordum.store.cluster import SLOTS, Address

LEAST_MASTERS: Final = 3
_BAD_FLAGS: Final = ("fail", "fail?", "handshake", "noaddr")


@dataclass(frozen=True)
class Member:
    """One line of CLUSTER NODES."""

    id: str
    address: str
    flags: frozenset[str]
    master: str
    is_linked: bool
    slots: tuple[str, ...]

    @property
    def is_master(self) -> bool:
        return "master" in self.flags


def read_members(text: str) -> list[Member]:
    """The answer to CLUSTER NODES."""
    members = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 8:
            address = words[1].partition("@")[0].partition(",")[0]
            flags = frozenset(words[2].split(","))
            members.append(Member(words[0], address, flags, words[3], words[7] == "connected", tuple(words[8:])))
    return members


async def examine(
    addresses: Sequence[Address], dial: Callable[[Address], Node], *, nodes: int, masters: int
) -> list[Finding]:
    """Looks at every node that is listed, and at every further one they know.

    Args:
        addresses: as in REDIS_CLUSTER_ADDRESSES.
        dial: opens a node.
        nodes: how many there are to be; 0 = as many as are listed.
        masters: how many of them are to be primaries; 0 = three or more.
    """
    asked = {f"{host}:{port}": dial((host, port)) for host, port in addresses}
    silent = await _silent(list(asked.values()))
    live = [node for node in asked.values() if node.name not in silent]
    members = await _members(live)
    further = [member.address for member in members if member.address and member.address not in asked]
    for address in further:
        host, _, port = address.rpartition(":")
        asked[address] = dial((host, int(port)))
    silent |= await _silent([asked[address] for address in further])
    live = [node for node in asked.values() if node.name not in silent]
    return [
        judged("nodes answer", [f"{name}: {why}" for name, why in silent.items()], f"{len(live)} of {len(asked)}"),
        *await _states(live, nodes or len(addresses)),
        _roles(members, masters),
        _flags(members),
        await _migrations(live),
        judged("servers", await faults_of(live), "links up, data saved"),
    ]


async def _silent(nodes: Sequence[Node]) -> dict[str, str]:
    faults = await asyncio.gather(*(node.why_silent() for node in nodes))
    return {node.name: why for node, why in zip(nodes, faults, strict=True) if why}


async def _members(live: Sequence[Node]) -> list[Member]:
    for node in live:
        if isinstance(text := await node.ask("CLUSTER", "NODES"), str):
            return read_members(text)
    return []


async def _states(live: Sequence[Node], nodes: int) -> list[Finding]:
    infos = dict(zip(live, await asyncio.gather(*(node.fields("CLUSTER", "INFO") for node in live)), strict=True))
    states, slots, known = [], [], []
    for node, info in infos.items():
        told = info or {}
        if (state := told.get("cluster_state", "unknown")) != "ok":
            states.append(f"{node.name}: cluster_state {state}")
        if (served := told.get("cluster_slots_ok", "?")) != str(SLOTS):
            slots.append(f"{node.name}: cluster_slots_ok {served}, not {SLOTS}")
        if (count := told.get("cluster_known_nodes", "?")) != str(nodes):
            known.append(f"{node.name}: cluster_known_nodes {count}, not {nodes}")
    if not live:
        states = slots = known = ["no node answers"]
    return [
        judged("cluster state", states, "ok everywhere"),
        judged("slots", slots, f"{SLOTS} served"),
        judged("known nodes", known, str(nodes)),
    ]


def _roles(members: Sequence[Member], masters: int) -> Finding:
    # A primary that failed keeps the word until it comes back, but serves nothing once another has its slots.
    serving = [member for member in members if member.is_master and any(slot[0] != "[" for slot in member.slots)]
    wrong = [
        f"{member.address}: a primary without a replica: nobody takes over when it is lost"
        for member in serving
        if not any(other.master == member.id and not other.flags & set(_BAD_FLAGS) for other in members)
    ]
    if masters and len(serving) != masters:
        wrong.append(f"{len(serving)} primaries serve slots, not {masters}")
    elif len(serving) < LEAST_MASTERS:
        wrong.append(f"{len(serving)} primaries serve slots: without {LEAST_MASTERS} no majority survives one's loss")
    replicas = sum("slave" in member.flags for member in members)
    return judged("roles", wrong, f"{len(serving)} primaries, {replicas} replicas")


def _flags(members: Sequence[Member]) -> Finding:
    wrong = []
    for member in members:
        if bad := sorted(member.flags & set(_BAD_FLAGS)):
            wrong.append(f"{member.address or member.id}: {', '.join(bad)}")
        elif not member.is_linked and "myself" not in member.flags:
            wrong.append(f"{member.address or member.id}: not connected to the others")
    return judged("flags", wrong, "none failed")


async def _migrations(live: Sequence[Node]) -> Finding:
    """Slots on the move; each node tells of its own only."""
    wrong = []
    for node, text in zip(live, await asyncio.gather(*(node.ask("CLUSTER", "NODES") for node in live)), strict=True):
        for member in read_members(text if isinstance(text, str) else ""):
            if "myself" in member.flags:
                for slot in member.slots:
                    if slot.startswith("["):
                        way = "migrating" if "->-" in slot else "importing"
                        wrong.append(f"{node.name}: slot {slot.strip('[]').partition('-')[0]} is {way}")
    return judged("slots on the move", wrong, "none")
