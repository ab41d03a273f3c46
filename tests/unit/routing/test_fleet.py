"""Who is there: arrivals, silence, restarts, and holds that reports contradict."""

from cordum.core.ids import DispatchId, JobId, PoolName, TenantId, Topic, WorkerId
from cordum.core.routing.fleet import SETTLED, Arrival, Fleet
from cordum.core.routing.pools import parse_pools
from cordum.core.routing.routes import compile_routes
from cordum.core.routing.slots import Hold, Slots
from cordum.core.routing.snapshot import FleetSnapshot, restore, take_snapshot
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.core.routing.topics import TopicRegistry
from cordum.core.routing.workers import WorkerReport

W = WorkerId("w")
MAIN = PoolName("main")
TENANT = TenantId("acme")


def beat(fleet: Fleet, now: float, active: int = 0, slots: int = 5, pool: str = "main") -> Arrival:
    return fleet.heartbeat(WorkerReport(worker_id=W, pool=PoolName(pool), active_jobs=active, max_parallel=slots), now)


def hold(job: str, now: float, worker: WorkerId = W, dispatch: str = "") -> Hold:
    return Hold(JobId(job), DispatchId(dispatch or f"d-{job}"), worker, MAIN, TENANT, now, ours=True)


def test_a_worker_is_new_with_its_first_heartbeat_and_in_a_new_pool() -> None:
    fleet = Fleet()

    assert fleet.handshake(W, [Topic("t")], "Ann", 0.0) is Arrival.NEW
    assert beat(fleet, 1.0) is Arrival.NEW
    assert beat(fleet, 2.0) is Arrival.KNOWN
    assert beat(fleet, 3.0, pool="side") is Arrival.NEW
    assert list(fleet.in_pool(MAIN)) == []
    assert list(fleet.in_pool(PoolName("side"))) == [fleet.workers[W]]


def test_silence_beyond_the_time_to_live_ends_a_worker() -> None:
    fleet = Fleet(ttl=10)
    beat(fleet, 0.0)

    assert fleet.sweep(10.0) == []
    (gone,) = fleet.sweep(10.1)

    assert gone.id == W
    assert not fleet.is_alive(W, 10.1) and fleet.in_pool(MAIN) == ()
    assert beat(fleet, 11.0) is Arrival.NEW


def test_free_slots_are_what_the_living_have_left() -> None:
    fleet = Fleet(ttl=10)
    beat(fleet, 0.0, slots=3)
    fleet.slots.take(hold("a", 0.0))

    assert fleet.free_slots(MAIN, 0.0) == 2
    assert fleet.free_slots(MAIN, 10.5) == 0


def test_a_newer_dispatch_replaces_the_older_hold_of_a_job() -> None:
    slots = Slots()
    slots.take(hold("a", 0.0))
    slots.take(hold("a", 1.0, worker=WorkerId("v"), dispatch="second"))

    assert len(slots) == 1 and slots.of_tenant(TENANT) == 1
    assert not slots.held_by(W)
    assert slots.release(JobId("a"), DispatchId("d-a")) is None
    assert slots.release(JobId("a"), DispatchId("second")) is not None
    assert slots.release(JobId("a")) is None
    assert len(slots) == 0 and slots.of_tenant(TENANT) == 0


def test_holds_that_two_reports_contradict_are_doubtful_once_they_have_settled() -> None:
    fleet = Fleet()
    beat(fleet, 0.0)
    fleet.slots.take(hold("old", 0.0))
    fleet.slots.take(hold("new", 5.0))
    beat(fleet, 5.0, active=1)
    assert fleet.doubtful_holds(5.0, 10) == []

    beat(fleet, 5.5, active=1)

    assert [found.job_id for found in fleet.doubtful_holds(5.5, 10)] == ["old"]
    beat(fleet, 6.0, active=2)
    assert fleet.doubtful_holds(6.0, 10) == []


def test_a_worker_that_counts_its_jobs_and_has_none_has_forgotten_what_it_was_given() -> None:
    fleet = Fleet()
    beat(fleet, 0.0, active=1)
    given = hold("a", 0.0)
    fleet.slots.take(given)
    beat(fleet, SETTLED + 0.1)
    assert not fleet.forgotten(given)

    beat(fleet, SETTLED + 0.2)

    assert fleet.forgotten(given)
    assert fleet.forgotten_holds() == [given]
    beat(fleet, SETTLED + 0.3, active=1)
    assert not fleet.forgotten(given)


def test_a_worker_that_never_counts_is_not_believed_without_a_reason() -> None:
    fleet = Fleet()
    given = hold("a", 0.0)
    fleet.slots.take(given)
    for moment in (1.0, 5.0, 6.0, 7.0):
        beat(fleet, moment)
    assert not fleet.forgotten(given)

    fleet.interrupted(7.0)

    assert fleet.forgotten(given)


def test_a_worker_restarted_since_has_forgotten() -> None:
    fleet = Fleet()
    beat(fleet, 0.0)
    given = hold("a", 0.0)
    fleet.slots.take(given)
    fleet.handshake(W, [], "", 1.0)
    beat(fleet, 4.0)
    assert not fleet.forgotten(given)

    beat(fleet, 5.0)

    assert fleet.forgotten(given)


def test_jobs_we_did_not_know_of_stop_counting_when_they_end() -> None:
    fleet = Fleet()
    beat(fleet, 0.0, active=2)
    beat(fleet, 1.0, active=2)
    worker = fleet.workers[W]
    assert fleet.load(worker) == 2

    worker.finished_unknown()

    assert fleet.load(worker) == 1


def test_a_snapshot_restores_the_fleet() -> None:
    routes = compile_routes(
        parse_pools({"topics": {"t": "main", "u": "side"}}, "f"), TopicRegistry({}), TimeoutsConfig()
    )
    fleet = Fleet()
    beat(fleet, 50.0, slots=3)
    fleet.handshake(W, [Topic("t")], "Ann", 50.0)
    fleet.slots.take(hold("a", 50.0))

    snapshot = take_snapshot(fleet, routes, writer_id="me", now=55.0, wall=1_700_000_000.0)
    fresh = Fleet()
    restore(snapshot, fresh, 3.0)

    assert isinstance(snapshot, FleetSnapshot)
    (entry,) = snapshot.workers
    assert (entry.last_seen, entry.ready_topics, entry.agent_name) == ("2023-11-14T22:13:15.000Z", ("t",), "Ann")
    assert (snapshot.pools["main"].workers, snapshot.pools["main"].active_jobs, snapshot.pools["main"].capacity) == (
        1,
        1,
        3,
    )
    assert snapshot.pools["side"].workers == 0
    assert snapshot.topics["t"].available == 2
    worker = fresh.workers[W]
    assert (worker.slots, worker.ready_topics, worker.started_at) == (3, frozenset({"t"}), None)
    assert fresh.free_slots(MAIN, 3.0) == 3


def test_only_workers_with_room_are_looked_at() -> None:
    fleet = Fleet()
    beat(fleet, 0.0, slots=2)
    fleet.heartbeat(WorkerReport(worker_id=WorkerId("other"), pool=MAIN, max_parallel=1, cpu_load=95), 0.0)

    def open_ones() -> list[str]:
        return sorted(worker.id for worker in fleet.with_room(MAIN))

    assert open_ones() == ["w"]
    fleet.slots.take(hold("a", 0.0))
    assert open_ones() == ["w"]
    fleet.slots.take(hold("b", 0.0))
    assert open_ones() == []
    fleet.slots.release(JobId("a"))
    assert open_ones() == ["w"]
    beat(fleet, 1.0, slots=1)  # takes fewer now than it holds
    assert open_ones() == []
    fleet.heartbeat(WorkerReport(worker_id=WorkerId("other"), pool=MAIN, max_parallel=1), 1.0)
    assert open_ones() == ["other"]
    fleet.sweep(100.0)
    assert open_ones() == [] and not fleet.pools


def test_a_job_that_ends_where_we_did_not_know_of_it_makes_room() -> None:
    fleet = Fleet()
    beat(fleet, 0.0, active=1, slots=1)
    beat(fleet, 1.0, active=1, slots=1)
    assert not fleet.with_room(MAIN)

    fleet.finished_unknown(W)

    assert list(fleet.with_room(MAIN)) == [fleet.workers[W]]


def test_holds_of_workers_nobody_knows_are_doubtful() -> None:
    fleet = Fleet()
    fleet.slots.take(hold("lost", 0.0, WorkerId("ghost")))

    assert fleet.doubtful_holds(SETTLED, 10) == []
    assert [found.job_id for found in fleet.doubtful_holds(SETTLED + 0.1, 10)] == ["lost"]


def test_a_worker_sent_away_gets_nothing_more() -> None:
    fleet = Fleet()
    beat(fleet, 0.0)

    assert [worker.id for worker in fleet.dismiss([W, WorkerId("nobody")])] == [W]
    assert not fleet.with_room(MAIN) and list(fleet.in_pool(MAIN)) == []
