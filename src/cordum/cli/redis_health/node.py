"""One server of the installation, asked directly."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cordum.store.errors import StoreError
from cordum.store.link import Command, Link, Outcome

PATIENCE: Final = 3.0  # seconds a server may take to answer


@dataclass(eq=False)
class Node:
    """A server and the connection to it."""

    name: str
    """Its address, for reports."""
    link: Link
    has_answered: bool = False

    async def ask(self, *command: str) -> Outcome:
        """The reply, or the StoreError that stands for it."""
        asked: Command = command
        return (await self.link.execute([asked], asyncio.get_running_loop().time() + PATIENCE))[0]

    async def fields(self, *command: str) -> dict[str, str] | None:
        """The reply to INFO or CLUSTER INFO as names and values; None when there is none."""
        reply = await self.ask(*command)
        if not isinstance(reply, str):
            return None
        pairs = (line.partition(":") for line in reply.splitlines() if ":" in line)
        return {name: value.strip() for name, _, value in pairs}

    async def why_silent(self) -> str:
        """Why it does not answer; "" when it does."""
        reply = await self.ask("PING")
        self.has_answered = not isinstance(reply, StoreError)
        return reply.message if isinstance(reply, StoreError) else ""


def table(reply: Outcome) -> list[dict[str, str]]:
    """A reply of Sentinel's: names and values one after the other, once or in a list of such lists."""
    if not isinstance(reply, list):
        return []
    rows = reply if reply and isinstance(reply[0], list) else [reply]
    return [dict(zip(map(str, row[::2]), map(str, row[1::2]), strict=False)) for row in rows if isinstance(row, list)]


async def faults_of(nodes: Sequence[Node]) -> list[str]:
    """What is wrong with servers' data: loading, not saved, or to be thrown away when memory runs short."""
    return [fault for faults in await asyncio.gather(*map(_faults, nodes)) for fault in faults]


async def _faults(node: Node) -> list[str]:
    info = await node.fields("INFO")
    if info is None:
        return [f"{node.name}: does not answer INFO"]
    wrong = []
    if info.get("loading") == "1":
        wrong.append(f"{node.name}: still loads its data")
    if info.get("aof_enabled") == "1" and info.get("aof_last_write_status", "ok") != "ok":
        wrong.append(f"{node.name}: the last write to its append-only file failed")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        wrong.append(f"{node.name}: its last snapshot failed")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        wrong.append(f"{node.name}: maxmemory-policy is {policy}: records are thrown away when memory runs short")
    if info.get("role") == "slave" and info.get("master_link_status") != "up":
        wrong.append(f"{node.name}: a replica whose link to its primary is {info.get('master_link_status', 'down')}")
    return wrong
