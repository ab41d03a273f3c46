"""What a scheduler knows of the parked."""

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.lanes import DELAYED, UNROUTED, Lane
from cordum.core.routing.pools import parse_pools
from cordum.core.routing.routes import Routes, compile_routes
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.core.routing.topics import TopicRegistry
from cordum.core.routing.turns import Rank
from cordum.services.scheduler.lane_book import LaneBook
from cordum.store.parked import Queue

MAIN = PoolName("main")


def lane(tenant: str, topic: str = "job.work", rank: Rank = Rank.INTERACTIVE, home: PoolName = MAIN) -> Lane:
    return Lane(home, rank, TenantId(tenant), Topic(topic))


def everybody(_lane: Lane) -> bool:
    return True


def filled(**counts: int) -> LaneBook:
    book = LaneBook()
    book.looked({lane(tenant).name: Queue(count, 0) for tenant, count in counts.items()})
    return book


def routes(topics: dict[str, object], pools: dict[str, object] | None = None) -> Routes:
    return compile_routes(
        parse_pools({"topics": topics, "pools": pools or {}}, "f"), TopicRegistry({}), TimeoutsConfig()
    )


def test_free_slots_are_shared_among_tenants_whatever_each_has_parked() -> None:
    book = filled(acme=10_000, umbrella=2, wayne=5)

    assert book.allot(MAIN, 9, everybody) == {lane("acme"): 4, lane("umbrella"): 2, lane("wayne"): 3}
    assert book.allot(MAIN, 4, everybody) == {lane("acme"): 2, lane("wayne"): 2}


def test_the_critical_are_taken_first() -> None:
    book = filled(acme=10)
    urgent = lane("umbrella", rank=Rank.CRITICAL)
    book.parked(urgent)
    assert book.best(MAIN) is Rank.CRITICAL

    assert book.allot(MAIN, 1, everybody) == {urgent: 1}
    assert book.best(MAIN) is Rank.INTERACTIVE


def test_who_cannot_be_served_is_passed_over_and_keeps_waiting() -> None:
    book = filled(acme=3, umbrella=3)

    plan = book.allot(MAIN, 6, lambda one: one.tenant == "umbrella")

    assert plan == {lane("umbrella"): 3}
    assert book.has(MAIN) and book.allot(MAIN, 6, everybody) == {lane("acme"): 3}
    assert not book.has(MAIN)


def test_a_look_tells_what_is_due_and_forgets_what_is_gone() -> None:
    book = filled(acme=3, umbrella=3)
    book.begin_look()
    fresh = lane("wayne")
    book.parked(fresh)  # while the answer is under way, so it is not in it

    due = book.looked({lane("acme").name: Queue(5, 2), DELAYED: Queue(1, 1)})

    assert due == {lane("acme"): 2, Lane(DELAYED): 1}
    assert book.allot(MAIN, 99, everybody) == {lane("acme"): 5, fresh: 1}


def test_an_emptied_lane_waits_for_the_next_look() -> None:
    book = filled(acme=3)
    book.emptied(lane("acme"))

    assert not book.has(MAIN) and book.allot(MAIN, 3, everybody) == {}


def test_after_a_change_those_stray_who_stand_at_the_wrong_place() -> None:
    book = LaneBook()
    lanes = {
        "moved": lane("acme", "job.moved"),
        "stays": lane("acme", "job.stays"),
        "mapped": lane("acme", "job.mapped", home=UNROUTED),
        "unmapped": lane("acme", "job.unmapped", home=UNROUTED),
        "drained": lane("acme", "job.drained", home=PoolName("drained")),
        "old": Lane(PoolName("drained")),
        "later": lane("acme", "job.moved", home=DELAYED),
    }
    for one in lanes.values():
        book.parked(one)
    now = routes(
        {"job.moved": "side", "job.stays": ["side", "main"], "job.mapped": "main", "job.drained": "drained"},
        {"drained": {"status": "draining"}},
    )

    assert {one.home + "/" + one.topic for one in book.strays(now)} == {
        "main/job.moved",
        "_unrouted/job.mapped",
        "drained/job.drained",
        "drained/",
    }
