"""Where parked jobs stand: a lane for each pool, urgency, tenant and topic, so that none waits behind another.

A lane's name is its Redis key's last part. Names without bars are those of releases that had one lane a pool; they are
still read, and emptied as their jobs are tried.
"""

from typing import Final, NewType

import msgspec

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.turns import Rank

LaneName = NewType("LaneName", str)

# Not pools: what begins with an underscore is a reason to wait for something else than a pool's workers.
UNROUTED: Final = PoolName("_unrouted")
DELAYED: Final = PoolName("_delayed")
INSTALLATION: Final = PoolName("_installation")

_BAR: Final = "|"
_LONGEST: Final = 128


def tenant_home(tenant: TenantId) -> PoolName:
    """Where jobs wait whose tenant has as many jobs at work as it may."""
    return PoolName(f"_tenant:{tenant}")


class Lane(msgspec.Struct, frozen=True):
    """Jobs that wait for the same thing and have the same claim to it.

    Attributes:
        home: the first of the pools that can take them, or one of the names above.
        tenant, topic: "" in a lane of an older release.
    """

    home: PoolName
    rank: Rank = Rank.INTERACTIVE
    tenant: TenantId = TenantId("")
    topic: Topic = Topic("")

    @property
    def name(self) -> LaneName:
        if not self.tenant and not self.topic:
            return LaneName(self.home)
        return LaneName(_BAR.join((str(self.rank.value), _part(self.tenant), _part(self.topic), self.home)))

    @property
    def waits_for_workers(self) -> bool:
        """Whether a free slot is what it waits for."""
        return not self.home.startswith("_")


def lane_named(name: str) -> Lane:
    """The lane of a name; every text is the name of one."""
    parts = name.split(_BAR, 3)
    if len(parts) == 4 and parts[0] in _RANKS:
        return Lane(PoolName(parts[3]), _RANKS[parts[0]], TenantId(parts[1]), Topic(parts[2]))
    return Lane(PoolName(name))


_RANKS: Final = {str(rank.value): rank for rank in Rank}


def _part(text: str) -> str:
    """A tenant or a topic as one part of a name; two that look alike then share a lane, which does no harm."""
    return text.replace(_BAR, "_")[:_LONGEST]
