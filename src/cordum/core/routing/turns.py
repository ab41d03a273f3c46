"""Whose turn it is: the more urgent first, and within one urgency every tenant, and every topic of it, in its turn.

Used wherever jobs queue for something scarce: for slots in memory, and among the parked.
"""

from collections import OrderedDict
from collections.abc import Hashable
from enum import IntEnum
from typing import Final, Generic, TypeVar

from cordum.core.ids import TenantId


class Rank(IntEnum):
    """How urgent a job is; the lower goes first. CAP's priorities: a job that names none is an interactive one."""

    CRITICAL = 0
    INTERACTIVE = 1
    BATCH = 2


_OF_CAP: Final = {2: Rank.BATCH, 3: Rank.CRITICAL}


def rank_of(priority: int) -> Rank:
    """The rank of a CAP `JobPriority`; one that is not given, or not known, is the ordinary one."""
    return _OF_CAP.get(priority, Rank.INTERACTIVE)


MOST_PASSED: Final = {Rank.INTERACTIVE: 7, Rank.BATCH: 15}
"""How often more urgent ranks may go before one that waits, in a row. So of any 9 turns interactive jobs get one at
least, and of any 17 batch jobs one, however many critical ones there are: nobody starves."""

Leaf = TypeVar("Leaf", bound=Hashable)


class Turns(Generic[Leaf]):
    """Those who wait, in the order of their turns. A leaf is what gets a turn: a queue of one tenant's jobs.

    Every method takes constant time.
    """

    __slots__ = ("_passed", "_ranks")

    def __init__(self) -> None:
        self._ranks: dict[Rank, OrderedDict[TenantId, OrderedDict[Leaf, None]]] = {rank: OrderedDict() for rank in Rank}
        self._passed = dict.fromkeys(Rank, 0)

    def __bool__(self) -> bool:
        return any(self._ranks.values())

    @property
    def best(self) -> Rank | None:
        """The most urgent rank that waits."""
        return next((rank for rank, tenants in self._ranks.items() if tenants), None)

    def join(self, rank: Rank, tenant: TenantId, leaf: Leaf) -> None:
        """Waits from now on, behind those who wait already; who does so already keeps its place."""
        self._ranks[rank].setdefault(tenant, OrderedDict()).setdefault(leaf, None)

    def leave(self, rank: Rank, tenant: TenantId, leaf: Leaf) -> None:
        """Waits no longer."""
        leaves = self._ranks[rank].get(tenant)
        if leaves is None:
            return
        leaves.pop(leaf, None)
        if not leaves:
            del self._ranks[rank][tenant]
            if not self._ranks[rank]:
                self._passed[rank] = 0

    def next(self) -> Leaf | None:
        """Gives the next turn; who gets it goes behind the others and waits on, until it leaves."""
        present = [rank for rank in Rank if self._ranks[rank]]
        if not present:
            return None
        chosen = present[0]
        if len(present) > 1:
            chosen = next((r for r in reversed(present[1:]) if self._passed[r] >= MOST_PASSED[r]), chosen)
            for rank in present:
                if rank > chosen:
                    self._passed[rank] += 1
        self._passed[chosen] = 0
        tenants = self._ranks[chosen]
        tenant, leaves = next(iter(tenants.items()))
        tenants.move_to_end(tenant)
        leaf = next(iter(leaves))
        leaves.move_to_end(leaf)
        return leaf
