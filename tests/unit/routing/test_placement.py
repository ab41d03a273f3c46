"""Which worker gets a job, and why none."""

from collections.abc import Mapping

import pytest

from cordum.core.ids import DispatchId, JobId, PoolName, TenantId, Topic, WorkerId
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.placement import LOOKED_AT, NoPlace, need_of, place, pools_of
from cordum.core.routing.pools import parse_pools
from cordum.core.routing.routes import compile_routes
from cordum.core.routing.slots import Hold
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.core.routing.topics import TopicRegistry
from cordum.core.routing.workers import Readiness, Worker, WorkerReport

NOW = 100.0
MAIN = (PoolName("main"),)
WORK = Topic("job.work")
TENANT = TenantId("acme")
NEED = need_of(WORK, TENANT, {}, ())
LENIENT = Readiness()


def worker(
    fleet: Fleet,
    name: str,
    *,
    pool: str = "main",
    slots: int = 1,
    active: int = 0,
    cpu: float = 0.0,
    gpu: float = 0.0,
    labels: Mapping[str, str] | None = None,
    capabilities: tuple[str, ...] = (),
    now: float = NOW,
) -> None:
    fleet.heartbeat(
        WorkerReport(
            worker_id=WorkerId(name),
            pool=PoolName(pool),
            max_parallel=slots,
            active_jobs=active,
            cpu_load=cpu,
            gpu_utilization=gpu,
            labels=labels or {},
            capabilities=capabilities,
        ),
        now,
    )


def give(fleet: Fleet, name: str, jobs: int) -> None:
    for number in range(jobs):
        job = f"{name}-{number}"
        fleet.slots.take(Hold(JobId(job), DispatchId(job), WorkerId(name), PoolName("main"), TENANT, NOW, ours=True))


def chosen(fleet: Fleet, need: object = NEED, readiness: Readiness = LENIENT, now: float = NOW) -> str:
    found = place(need, MAIN, fleet, readiness, now)  # type: ignore[arg-type]
    return found.id if isinstance(found, Worker) else found.value


def test_without_a_pool_there_is_no_place() -> None:
    assert place(NEED, (), Fleet(), LENIENT, NOW) is NoPlace.NO_POOL


def test_without_a_worker_there_is_no_place() -> None:
    assert chosen(Fleet()) == "no_workers"


def test_the_least_loaded_worker_gets_the_job() -> None:
    fleet = Fleet()
    worker(fleet, "busy", slots=5)
    worker(fleet, "idle", slots=5)
    give(fleet, "busy", 1)

    assert chosen(fleet) == "idle"


def test_processor_load_breaks_ties() -> None:
    fleet = Fleet()
    worker(fleet, "warm", cpu=50)
    worker(fleet, "cool", cpu=20, gpu=10)

    assert chosen(fleet) == "cool"


@pytest.mark.parametrize("slots", [0, 1, 3])
def test_a_worker_never_gets_more_than_it_takes_in_parallel(slots: int) -> None:
    fleet = Fleet()
    worker(fleet, "w", slots=slots)
    give(fleet, "w", max(1, slots) - 1)
    assert chosen(fleet) == "w"

    give(fleet, "w", max(1, slots))

    assert chosen(fleet) == "pool_overloaded"


@pytest.mark.parametrize("load", [{"cpu": 90.0}, {"gpu": 95.0}])
def test_a_hot_worker_gets_nothing(load: dict[str, float]) -> None:
    fleet = Fleet()
    worker(fleet, "hot", **load)  # type: ignore[arg-type]

    assert chosen(fleet) == "pool_overloaded"


def test_jobs_a_worker_reports_twice_beyond_those_we_know_count() -> None:
    fleet = Fleet()
    worker(fleet, "w", active=1)
    assert chosen(fleet) == "w"  # one report may lag behind

    worker(fleet, "w", active=1)

    assert chosen(fleet) == "pool_overloaded"


def test_a_silent_worker_gets_nothing() -> None:
    fleet = Fleet(ttl=30)
    worker(fleet, "w")

    assert chosen(fleet, now=NOW + 30) == "w"
    assert chosen(fleet, now=NOW + 30.1) == "no_workers"


def test_a_handshake_alone_makes_no_worker() -> None:
    fleet = Fleet()
    fleet.handshake(WorkerId("w"), [WORK], "", NOW)

    assert chosen(fleet) == "no_workers"


def test_after_an_interruption_a_worker_has_to_be_heard_again() -> None:
    fleet = Fleet()
    worker(fleet, "w")
    fleet.interrupted(NOW + 1)
    assert chosen(fleet, now=NOW + 1) == "no_workers"

    worker(fleet, "w", now=NOW + 2)

    assert chosen(fleet, now=NOW + 2) == "w"


def test_what_a_worker_does_not_handle_it_never_gets() -> None:
    fleet = Fleet()
    worker(fleet, "w")
    fleet.handshake(WorkerId("w"), [Topic("job.other")], "", NOW)

    assert chosen(fleet) == "no_workers"

    fleet.handshake(WorkerId("w"), [], "", NOW)  # says nothing about topics any more

    assert chosen(fleet) == "w"


@pytest.mark.seed("S98", "S99")
def test_readiness_when_demanded_is_announced_and_fresh() -> None:
    strict = Readiness(required=True, ttl=60)
    fleet = Fleet(ttl=1000)
    worker(fleet, "w")
    assert chosen(fleet, readiness=strict) == "no_workers"

    fleet.handshake(WorkerId("w"), [WORK], "", NOW)
    assert chosen(fleet, readiness=strict, now=NOW + 60) == "w"
    assert chosen(fleet, readiness=strict, now=NOW + 61) == "no_workers"

    worker(fleet, "w", now=NOW + 61)  # a heartbeat of one that shook hands renews it
    assert chosen(fleet, readiness=strict, now=NOW + 61) == "w"


def test_placement_labels_must_match_the_workers() -> None:
    fleet = Fleet()
    worker(fleet, "us", labels={"placement.region": "us"})
    worker(fleet, "eu", labels={"placement.region": "eu", "node.zone": "a"})

    def with_labels(labels: dict[str, str]) -> str:
        return chosen(fleet, need_of(WORK, TENANT, labels, ()))

    assert with_labels({"placement.region": "eu", "colour": "red"}) == "eu"
    assert with_labels({"placement.region": "eu", "node.zone": "b"}) == "no_workers"


def test_the_preferred_worker_is_taken_when_it_can_be() -> None:
    fleet = Fleet()
    worker(fleet, "liked", cpu=80)
    worker(fleet, "idle")
    need = need_of(WORK, TENANT, {"preferred_worker_id": "liked"}, ())
    assert chosen(fleet, need) == "liked"

    give(fleet, "liked", 1)

    assert chosen(fleet, need) == "idle"


def test_a_preferred_pool_narrows_and_must_be_one_of_the_topics() -> None:
    routes = compile_routes(parse_pools({"topics": {WORK: ["main", "side"]}}, "f"), TopicRegistry({}), TimeoutsConfig())

    def pools(name: str) -> tuple[str, ...]:
        return pools_of(need_of(WORK, TENANT, {"preferred_pool": name}, ()), routes)

    assert pools("side") == ("side",)
    assert pools("elsewhere") == ()


def test_a_worker_that_names_no_pool_is_in_the_default_one() -> None:
    fleet = Fleet()
    worker(fleet, "w", pool="")

    assert place(NEED, (PoolName("default"),), fleet, LENIENT, NOW) is fleet.workers[WorkerId("w")]


ROUTES = compile_routes(
    parse_pools({"topics": {WORK: "main"}, "pools": {"main": {"requires": ["GPU", "eu "]}}}, "f"),
    TopicRegistry({}),
    TimeoutsConfig(),
)


def for_required(fleet: Fleet, *requires: str) -> str:
    need = need_of(WORK, TENANT, {}, requires)
    found = place(need, pools_of(need, ROUTES), fleet, LENIENT, NOW, 0, ROUTES.offers)
    return found.id if isinstance(found, Worker) else found.value


def test_a_worker_that_speaks_of_its_pools_capabilities_has_those_it_names() -> None:
    fleet = Fleet()
    worker(fleet, "cpu", capabilities=("EU",))
    assert for_required(fleet, "eu") == "cpu"
    assert for_required(fleet, "gpu") == "no_workers"

    worker(fleet, "gpu", capabilities=("eu", " Gpu"), slots=1)

    assert for_required(fleet, "gpu", "EU ") == "gpu"
    assert for_required(fleet, "gpu", "tpu") == "no_pool_mapping"  # the pool does not offer it


def test_a_worker_that_says_nothing_of_them_has_what_its_pool_offers() -> None:
    fleet = Fleet()
    worker(fleet, "silent")
    assert for_required(fleet, "gpu") == "silent"

    worker(fleet, "silent", capabilities=("chat", "summaries"))  # words of another kind

    assert for_required(fleet, "gpu") == "silent"


def test_capabilities_that_change_count_from_the_next_heartbeat() -> None:
    fleet = Fleet()
    worker(fleet, "w", capabilities=("gpu",))
    assert for_required(fleet, "gpu") == "w"

    worker(fleet, "w", capabilities=("eu",))

    assert for_required(fleet, "gpu") == "no_workers"


def test_a_credential_limits_the_topics_of_a_worker() -> None:
    fleet = Fleet()
    worker(fleet, "w")
    fleet.workers[WorkerId("w")].allowed_topics = frozenset({Topic("job.other")})
    assert chosen(fleet) == "no_workers"
    assert not fleet.handles(MAIN, WORK) and fleet.handles(MAIN, Topic("job.other"))

    fleet.workers[WorkerId("w")].allowed_topics = frozenset({WORK})

    assert chosen(fleet) == "w"


def test_a_preferred_worker_elsewhere_or_hot_is_not_taken() -> None:
    fleet = Fleet()
    worker(fleet, "idle")
    worker(fleet, "elsewhere", pool="side")
    worker(fleet, "hot", cpu=95)

    for liked in ("elsewhere", "hot", "nobody"):
        assert chosen(fleet, need_of(WORK, TENANT, {"preferred_worker_id": liked}, ())) == "idle"


def test_in_a_large_pool_jobs_spread_over_all_workers() -> None:
    fleet = Fleet()
    count = 3 * LOOKED_AT
    for number in range(count):
        worker(fleet, f"w-{number}")

    for turn in range(count):
        found = place(NEED, MAIN, fleet, LENIENT, NOW, turn)
        assert isinstance(found, Worker)
        job = JobId(f"job-{turn}")
        fleet.slots.take(Hold(job, DispatchId(job), found.id, MAIN[0], TENANT, NOW, ours=True))

    assert chosen(fleet) == "pool_overloaded"
