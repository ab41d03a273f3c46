"""A Redis Cluster behind the same port: each command goes to the node that holds its key's slot.

The map of slots is read from any node that answers, starting with the seeds (one live seed is enough), and read again
when a node says that a slot has moved or cannot be reached.
"""

import asyncio
import binascii
from collections.abc import Callable, Sequence
from typing import Final

from cordum.store.errors import NotRunError, StoreError, StoreUnavailableError
from cordum.store.link import AskError, Command, Link, MovedError, Outcome, UnknownScriptError, key_of

SLOTS: Final = 16384
_REDIRECTS: Final = 5
_LEARN_TIMEOUT: Final = 0.5  # seconds to ask one node for the map, so that a dead one does not use up the time

Address = tuple[str, int]


def key_slot(key: str | bytes) -> int:
    """The slot of a key: CRC-16 of the key, or of what stands between the first `{` and the next `}` in it."""
    raw = key.encode() if isinstance(key, str) else key
    start = raw.find(b"{")
    if start >= 0:
        end = raw.find(b"}", start + 1)
        if end > start + 1:
            raw = raw[start + 1 : end]
    return binascii.crc_hqx(raw, 0) % SLOTS


class ClusterLink:
    """Every node of a cluster, one link each.

    Args:
        seeds: addresses to learn the cluster from.
        dial: makes the link to one node.
    """

    def __init__(self, seeds: Sequence[Address], dial: Callable[[Address], Link]) -> None:
        self._seeds = tuple(seeds)
        self._dial = dial
        self._nodes: dict[Address, Link] = {}
        self._slots: dict[int, Address] = {}
        self._map_is_old = True
        self._learning = asyncio.Lock()

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        """See Link. Follows redirections; a unit's commands keep their order per node."""
        if self._map_is_old:
            await self._learn(deadline)
        if not self._slots:
            return [NotRunError("no node of the Redis cluster can be reached")] * len(commands)
        outcomes: list[Outcome] = [None] * len(commands)
        by_node: dict[Address, list[int]] = {}
        for at, command in enumerate(commands):
            key = key_of(command)
            address = self._slots.get(key_slot(key))
            if address is None:
                self._map_is_old = True
                outcomes[at] = NotRunError("no node of the Redis cluster serves this key now")
            else:
                by_node.setdefault(address, []).append(at)
        await asyncio.gather(
            *(
                self._ask_node(address, commands, positions, outcomes, deadline)
                for address, positions in by_node.items()
            )
        )
        await self._redirect(commands, outcomes, deadline)
        return outcomes

    async def _ask_node(
        self,
        address: Address,
        commands: Sequence[Command],
        positions: list[int],
        outcomes: list[Outcome],
        deadline: float,
    ) -> None:
        replies = await self._node(address).execute([commands[at] for at in positions], deadline)
        for at, reply in zip(positions, replies, strict=True):
            outcomes[at] = reply
        # A slot that moved, or a node that did not answer: the map is out of date.
        if any(isinstance(reply, StoreUnavailableError) for reply in replies) and not all(
            isinstance(reply, UnknownScriptError) for reply in replies if isinstance(reply, StoreError)
        ):
            self._map_is_old = True

    async def _redirect(self, commands: Sequence[Command], outcomes: list[Outcome], deadline: float) -> None:
        for _ in range(_REDIRECTS):
            moved = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, MovedError | AskError)]
            if not moved:
                return
            for at in moved:
                outcome = outcomes[at]
                slot, (host, port) = _target(outcome)
                # A cluster whose nodes do not know their own name leaves it out: ours for them is the seed's.
                address = (host or self._seeds[0][0], port)
                if isinstance(outcome, MovedError):
                    self._slots[slot] = address
                    outcomes[at] = (await self._node(address).execute([commands[at]], deadline))[0]
                else:
                    outcomes[at] = (await self._node(address).execute([("ASKING",), commands[at]], deadline))[1]

    async def _learn(self, deadline: float) -> None:
        async with self._learning:
            if not self._map_is_old:
                return
            for address in dict.fromkeys((*self._nodes, *self._seeds)):
                patience = min(deadline, asyncio.get_running_loop().time() + _LEARN_TIMEOUT)
                reply = (await self._node(address).execute([("CLUSTER", "SLOTS")], patience))[0]
                slots = _read_slots(reply, address)
                if slots:
                    self._slots = slots
                    self._map_is_old = False
                    await self._forget(set(slots.values()))
                    return

    async def _forget(self, known: set[Address]) -> None:
        """Closes the links to nodes that no longer hold slots."""
        for address in [address for address in self._nodes if address not in known]:
            await self._nodes.pop(address).aclose()

    def _node(self, address: Address) -> Link:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._dial(address)
        return node

    async def aclose(self) -> None:
        """Closes every connection to every node."""
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.aclose()


def _target(outcome: Outcome) -> tuple[int, Address]:
    slot, _, address = str(outcome).partition(" ")
    host, _, port = address.rpartition(":")
    return int(slot), (host, int(port))


def _read_slots(reply: Outcome, asked: Address) -> dict[int, Address]:
    """The answer to CLUSTER SLOTS as slot -> address of its master; a node without a host is the one we asked."""
    slots: dict[int, Address] = {}
    for entry in reply if isinstance(reply, list) else ():
        match entry:
            case [int(first), int(last), [host, int(port), *_], *_]:
                address = (str(host) if host else asked[0], port)
                for slot in range(first, last + 1):
                    slots[slot] = address
            case _:
                return {}
    return slots
