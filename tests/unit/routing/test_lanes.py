"""The names of lanes."""

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.lanes import DELAYED, UNROUTED, Lane, lane_named, tenant_home
from cordum.core.routing.turns import Rank

ACME = TenantId("acme")


def test_a_lane_is_told_by_its_name() -> None:
    lane = Lane(PoolName("gpu|eu"), Rank.CRITICAL, ACME, Topic("job.work"))

    assert lane.name == "0|acme|job.work|gpu|eu"
    assert lane_named(lane.name) == lane


def test_the_lanes_of_older_releases_are_read() -> None:
    for home in (PoolName("main"), UNROUTED, DELAYED, tenant_home(ACME), PoolName("9|a|b|c"), PoolName("1|a")):
        lane = lane_named(home)

        assert (lane.home, str(lane.name), lane.rank) == (home, str(home), Rank.INTERACTIVE)


def test_what_is_no_pool_waits_for_no_workers() -> None:
    assert Lane(PoolName("main")).waits_for_workers
    assert not any(Lane(home).waits_for_workers for home in (UNROUTED, DELAYED, tenant_home(ACME)))


def test_bars_and_endless_names_make_no_other_lane() -> None:
    lane = Lane(PoolName("main"), Rank.BATCH, TenantId("a|b"), Topic("t" * 500))

    assert lane_named(lane.name).home == "main"
    assert len(lane.name) < 200
