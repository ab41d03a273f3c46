"""What one scheduler knows of the parked: which lanes there are, how many jobs stand in each, and whose turn it is."""

from collections.abc import Callable, Mapping

from cordum.core.ids import PoolName
from cordum.core.routing.lanes import UNROUTED, Lane, LaneName, lane_named
from cordum.core.routing.routes import Routes
from cordum.core.routing.turns import Rank, Turns
from cordum.store.parked import Queue

Plan = dict[Lane, int]
"""How many jobs are to be taken from each lane."""


class LaneBook:
    """The lanes, as last looked at and as we filled and emptied them since."""

    def __init__(self) -> None:
        self._lanes: dict[LaneName, Lane] = {}
        self._counts: dict[Lane, int] = {}
        self._turns: dict[PoolName, Turns[Lane]] = {}
        self._fresh: set[Lane] = set()

    def has(self, home: PoolName) -> bool:
        """Whether jobs wait under this name."""
        return home in self._turns

    def best(self, home: PoolName) -> Rank | None:
        """The most urgent rank that waits there."""
        turns = self._turns.get(home)
        return turns.best if turns is not None else None

    def parked(self, lane: Lane) -> None:
        """One more job stands in a lane."""
        self._fresh.add(lane)
        self._set(lane, self._counts.get(lane, 0) + 1)

    def emptied(self, lane: Lane) -> None:
        """There was less in a lane than we thought; the next look will tell."""
        self._set(lane, 0)

    def begin_look(self) -> None:
        """What is parked from here on may be missing in the answer."""
        self._fresh.clear()

    def looked(self, queues: Mapping[str, Queue]) -> dict[Lane, int]:
        """Takes in the answer, and says in which lanes how many jobs are due."""
        due: dict[Lane, int] = {}
        for name, queue in queues.items():
            lane = self._lanes.get(LaneName(name)) or lane_named(name)
            self._lanes[LaneName(name)] = lane
            if lane not in self._fresh or queue.count:
                self._set(lane, queue.count)
            if queue.due:
                due[lane] = queue.due
        for name in self._lanes.keys() - queues.keys():
            if self._lanes[LaneName(name)] not in self._fresh:
                self._set(self._lanes.pop(LaneName(name)), 0)
        return due

    def allot(self, home: PoolName, amount: int, admits: Callable[[Lane], bool]) -> Plan:
        """Whose jobs are to be taken, if so many may be: by turns among those that wait there and can be served."""
        plan: Plan = {}
        turns = self._turns.get(home)
        aside: list[Lane] = []
        while turns is not None and amount > 0:
            lane = turns.next()
            if lane is None:
                break
            if admits(lane):
                plan[lane] = plan.get(lane, 0) + 1
                amount -= 1
                self._set(lane, self._counts[lane] - 1)
            else:
                turns.leave(lane.rank, lane.tenant, lane)
                aside.append(lane)
        for lane in aside:
            self._turns.setdefault(home, Turns()).join(lane.rank, lane.tenant, lane)
        return plan

    def strays(self, routes: Routes) -> Plan:
        """The jobs that stand where they cannot be served any more, or could be served elsewhere now."""
        found: Plan = {}
        for lane, count in self._counts.items():
            if not lane.waits_for_workers and lane.home != UNROUTED:
                continue
            pools = routes.pools_for(lane.tenant, lane.topic)
            if lane.home == UNROUTED:
                stray = bool(pools) or not lane.topic
            else:
                stray = lane.home not in pools if lane.topic else lane.home not in routes.offers
            if stray:
                found[lane] = count
        return found

    def _set(self, lane: Lane, count: int) -> None:
        turns = self._turns.get(lane.home)
        if count > 0:
            self._lanes[lane.name] = lane
            self._counts[lane] = count
            if turns is None:
                turns = self._turns[lane.home] = Turns()
            turns.join(lane.rank, lane.tenant, lane)
            return
        self._counts.pop(lane, None)
        if turns is not None:
            turns.leave(lane.rank, lane.tenant, lane)
            if not turns:
                del self._turns[lane.home]
