"""Whatever the fleet is like and whatever happens to it: a job goes to the best that fits, and none is overfilled."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cordum.core.ids import DispatchId, JobId, PoolName, TenantId, Topic, WorkerId
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.placement import LOOKED_AT, Need, NoPlace, need_of, place
from cordum.core.routing.slots import Hold
from cordum.core.routing.workers import HOT, Readiness, Worker, WorkerReport

POOLS = (PoolName("one"), PoolName("two"))
TOPIC = Topic("job.work")
TENANT = TenantId("acme")
OFFERS = {POOLS[0]: frozenset({"gpu", "eu"}), POOLS[1]: frozenset({"gpu"})}
NOW = 100.0
LENIENT = Readiness()

names = st.sampled_from([WorkerId(f"w{number}") for number in range(8)])
reports = st.builds(
    WorkerReport,
    worker_id=names,
    pool=st.sampled_from([*POOLS, PoolName("elsewhere")]),
    active_jobs=st.integers(0, 3),
    max_parallel=st.integers(0, 4),
    cpu_load=st.sampled_from([0.0, 10.0, 50.0, 89.9, 90.0, 100.0]),
    gpu_utilization=st.sampled_from([0.0, 0.0, 91.0]),
    capabilities=st.sampled_from([(), ("GPU",), ("gpu ", "EU"), ("chat",)]),
    labels=st.sampled_from([{}, {"node.zone": "a"}, {"node.zone": "b"}]),
)
topics = st.none() | st.frozensets(st.sampled_from([TOPIC, Topic("job.other")]), min_size=1)
needs = st.builds(
    lambda zone, requires, liked: need_of(
        TOPIC,
        TENANT,
        ({"node.zone": zone} if zone else {}) | ({"preferred_worker_id": liked} if liked else {}),
        requires,
    ),
    st.sampled_from(["", "a"]),
    st.sampled_from([(), ("gpu",), ("Gpu", "eu")]),
    st.none() | names,
)
pools = st.sampled_from([POOLS, POOLS[:1], POOLS[1:]])


def fits(worker: Worker, need: Need, wanted: tuple[PoolName, ...], fleet: Fleet) -> bool:
    """Whether a worker may have the job, busy or not: the rules once more, as the spec puts them."""
    said = {word.strip().lower() for word in worker.last.capabilities}
    vouched = OFFERS.get(worker.pool, frozenset())
    return (
        worker.pool in wanted
        and worker.heartbeat_at is not None
        and NOW - worker.heartbeat_at <= fleet.ttl
        and (worker.ready_topics is None or TOPIC in worker.ready_topics)
        and (worker.allowed_topics is None or TOPIC in worker.allowed_topics)
        and all(worker.last.labels.get(label) == value for label, value in need.constraints.items())
        and (not need.requires or not said & vouched or set(need.requires) <= said)
    )


def has_room(worker: Worker, fleet: Fleet) -> bool:
    report = worker.last
    return fleet.load(worker) < worker.slots and report.cpu_load < HOT and report.gpu_utilization < HOT


def score(worker: Worker, fleet: Fleet) -> float:
    return fleet.load(worker) + worker.last.cpu_load / 100 + worker.last.gpu_utilization / 100


class Placements(RuleBasedStateMachine):
    """A fleet that lives: heartbeats, handshakes, silence, jobs that are placed and end."""

    @initialize()
    def begin(self) -> None:
        self.fleet = Fleet(ttl=30.0)
        self.jobs: list[JobId] = []
        self.count = 0

    @rule(report=reports, late=st.sampled_from([0.0, 0.0, 31.0]))
    def heartbeat(self, report: WorkerReport, late: float) -> None:
        self.fleet.heartbeat(report, NOW - late)

    @rule(name=names, ready=topics, allowed=topics)
    def announces(self, name: WorkerId, ready: frozenset[Topic] | None, allowed: frozenset[Topic] | None) -> None:
        self.fleet.handshake(name, ready or (), "", NOW)
        self.fleet.workers[name].allowed_topics = allowed

    @rule(need=needs, wanted=pools, turn=st.integers(0, 100))
    def place_a_job(self, need: Need, wanted: tuple[PoolName, ...], turn: int) -> None:
        fleet = self.fleet
        candidates = [worker for worker in fleet.workers.values() if fits(worker, need, wanted, fleet)]
        free = [worker for worker in candidates if has_room(worker, fleet)]

        found = place(need, wanted, fleet, LENIENT, NOW, turn, OFFERS)

        if not isinstance(found, Worker):
            assert not free
            assert found is (NoPlace.OVERLOADED if candidates else NoPlace.NO_WORKERS)
            return
        assert found in free
        if need.preferred_worker in {worker.id for worker in free}:
            assert found.id == need.preferred_worker
        else:
            assert score(found, fleet) == min(score(worker, fleet) for worker in free)
        self.count += 1
        job = JobId(f"job-{self.count}")
        held = len(fleet.slots.held_by(found.id))
        fleet.slots.take(Hold(job, DispatchId(job), found.id, found.pool, TENANT, NOW, ours=True))
        assert held + 1 <= found.slots
        self.jobs.append(job)

    @rule(data=st.data())
    def a_job_ends(self, data: st.DataObject) -> None:
        if self.jobs:
            job = self.jobs.pop(data.draw(st.integers(0, len(self.jobs) - 1)))
            self.fleet.slots.release(job)

    @rule(name=names)
    def an_unknown_job_ends(self, name: WorkerId) -> None:
        self.fleet.finished_unknown(name)

    @rule()
    def the_silent_are_forgotten(self) -> None:
        for worker in self.fleet.sweep(NOW):
            for job in list(self.fleet.slots.held_by(worker.id)):
                self.fleet.slots.release(job)
                self.jobs.remove(job)

    @rule(name=names)
    def one_is_sent_away(self, name: WorkerId) -> None:
        self.fleet.dismiss([name])

    @invariant()
    def who_has_room_is_known(self) -> None:
        for worker in self.fleet.workers.values():
            listed = worker in self.fleet.with_room(worker.pool)
            assert listed == (worker.heartbeat_at is not None and has_room(worker, self.fleet))


TestPlacements = Placements.TestCase
TestPlacements.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3 * LOOKED_AT), st.integers(0, 1000))
def test_in_a_large_pool_too_every_slot_is_found_and_none_twice(count: int, turn: int) -> None:
    fleet = Fleet()
    need = need_of(TOPIC, TENANT, {}, ())
    for number in range(count):
        fleet.heartbeat(WorkerReport(worker_id=WorkerId(f"w{number}"), pool=POOLS[0], max_parallel=2), NOW)
    for number in range(2 * count):
        found = place(need, POOLS, fleet, LENIENT, NOW, turn + number)
        assert isinstance(found, Worker)
        job = JobId(str(number))
        fleet.slots.take(Hold(job, DispatchId(job), found.id, found.pool, TENANT, NOW, ours=True))

    assert place(need, POOLS, fleet, LENIENT, NOW, turn) is NoPlace.OVERLOADED
    assert all(len(fleet.slots.held_by(name)) == 2 for name in fleet.workers)
