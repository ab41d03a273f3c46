"""Redis Cluster: six real nodes, three of them replicas. No command may touch the slots of two nodes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import redis.asyncio as redis
from tests.integration.store.conftest import Open, make_job

from cordum.core.audit.event import AuditEvent
from cordum.core.audit.verify import ChainStatus
from cordum.core.ids import DispatchId, JobId, Micros, PoolName, TenantId, WorkerId
from cordum.core.jobs import lifecycle
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.embedded.servers import Server
from cordum.store import Applied, DeadLetter, Refused, Store, StoreConflictError, StoreOptions, StoreUnavailableError
from cordum.store.cluster import SLOTS
from cordum.store.decision_log import DecisionQuery, LoggedDecision
from cordum.store.errors import NotRunError

PASSWORD = "cluster-test"
TENANT = TenantId("default")
CONFIG = f"cluster-enabled yes\ncluster-node-timeout 1000\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0\n"


@dataclass
class Cluster:
    """Masters first, then one replica of each, in the same order."""

    nodes: list[Server]

    def client(self, at: int) -> "redis.Redis":
        return redis.from_url(self.nodes[at].url, protocol=2, decode_responses=True)

    def options(self, *seeds: int) -> StoreOptions:
        return StoreOptions(
            url=f"redis://:{PASSWORD}@unused:1",
            cluster=tuple(("127.0.0.1", self.nodes[at].port) for at in seeds),
        )


async def ask(cluster: Cluster, at: int, *command: str | int) -> str:
    client = cluster.client(at)
    try:
        return str(await client.execute_command(*command))  # type: ignore[no-untyped-call]
    finally:
        await client.aclose()


async def eventually(cluster: Cluster, at: int, command: tuple[str, ...], wanted: str, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while wanted not in (answer := await ask(cluster, at, *command)):
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        nodes = [Server("redis", tmp_path / f"node-{number}", password=PASSWORD, extra=CONFIG) for number in range(6)]
        for node in nodes:
            await node.start()
            stack.push_async_callback(node.aclose)
        made = Cluster(nodes)
        for at in range(3):
            first, last = at * SLOTS // 3, (at + 1) * SLOTS // 3 - 1
            await ask(made, at, "CLUSTER", "ADDSLOTSRANGE", first, last)
            await ask(made, at, "CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for node in nodes[1:]:
            await ask(made, 0, "CLUSTER", "MEET", "127.0.0.1", node.port)
        for at in range(6):
            await eventually(made, at, ("CLUSTER", "INFO"), "cluster_known_nodes:6")
        for at in range(3):
            master = await ask(made, at, "CLUSTER", "MYID")
            await eventually(made, at + 3, ("CLUSTER", "NODES"), master)
            await ask(made, at + 3, "CLUSTER", "REPLICATE", master)
        for at in range(6):
            await eventually(made, at, ("CLUSTER", "INFO"), "cluster_state:ok")
        yield made


async def use_everything(store: Store, count: int = 12) -> None:
    """One pass through the whole store."""
    jobs = [make_job() for _ in range(count)]
    await asyncio.gather(*(store.jobs.create(job) for job in jobs))
    for job in jobs:
        record = job.record
        change = lifecycle.dispatch(
            record,
            Verdict(decision=Decision.ALLOW),
            worker=WorkerId("w"),
            pool=PoolName("p"),
            dispatch_id=DispatchId("d"),
            now=record.updated_at,
            deadline=Micros(record.updated_at + 5),
        )
        applied = await store.jobs.apply(record.id, change, now=record.updated_at, known=record)
        assert isinstance(applied, Applied)
        late = await store.jobs.apply(record.id, change, now=record.updated_at, known=record)
        assert isinstance(late, Refused)
    page = await store.jobs.list_page(TENANT, limit=5)
    assert [record.id for record in page.items] == [job.record.id for job in jobs[:-6:-1]]
    running = await store.jobs.list_page(TENANT, states=frozenset({JobState.RUNNING}), limit=500)
    assert {record.id for record in running.items} >= {job.record.id for job in jobs}
    detail = await store.jobs.get_detail(jobs[0].record.id)
    assert detail is not None
    assert detail.context == jobs[0].context
    await store.jobs.repair_indexes([job.record.id for job in jobs])
    await store.jobs.trim_indexes(Micros(1))
    assert await store.jobs.annotate(jobs[0].record.id, {"team": "x"}, allowed_from=frozenset(JobState))
    assert await store.jobs.claim_idempotency_key(TENANT, jobs[0].record.id, jobs[0].record.id) is None
    await store.jobs.release_idempotency_key(TENANT, jobs[0].record.id, jobs[0].record.id)
    pool = PoolName("pool")
    await store.parked.park(pool, jobs[0].record.id, Micros(2))
    assert await store.parked.take_due(pool, Micros(2), 5, 5.0) == [jobs[0].record.id]
    assert {lane: queue.count for lane, queue in (await store.parked.queues(Micros(2))).items()} == {pool: 1}
    await store.parked.remove(pool, jobs[0].record.id)
    for job in jobs:
        await store.dead_letters.add(DeadLetter(job_id=job.record.id, tenant=TENANT))
    assert len((await store.dead_letters.page(TENANT, 500)).items) == await store.dead_letters.count()
    assert await store.dead_letters.remove(TENANT, jobs[0].record.id)
    document = await store.configs.get("system", "default")
    revision = document.revision if document else 0
    await store.configs.put("system", "default", {"a": 1}, revision)
    with pytest.raises(StoreConflictError):
        await store.configs.put("system", "default", {"a": 2}, revision)
    lease = await store.leases.acquire("lease", 30)
    assert lease is not None
    await store.leases.renew(lease)
    assert await store.leases.release(lease)
    await store.workers.save(b"{}")
    assert await store.workers.load() == b"{}"


@pytest.mark.seed("S6", "S166")
async def test_everything_works_on_a_cluster(cluster: Cluster, opened: Open) -> None:
    store = await opened(cluster.options(0, 1, 2, 3, 4, 5))
    await use_everything(store)
    for at in range(3):
        assert int(await ask(cluster, at, "DBSIZE")) > 0, "every master has its share"


@pytest.mark.seed("S263")
async def test_the_audit_and_the_decision_log_work_there_too(cluster: Cluster, opened: Open) -> None:
    store = await opened(cluster.options(0))
    for number, tenant in enumerate(map(TenantId, ("a", "b", "c", "default"))):
        event = AuditEvent(
            id=f"e{number}", event_type="safety.decision", tenant=tenant, action="x", created_at=Micros(number + 1)
        )
        await store.audit.append(event)
        assert (await store.audit.verify(tenant)).status is ChainStatus.OK
        decided = LoggedDecision(
            tenant=tenant,
            job_id=JobId(f"job-{number}"),
            topic="job.a",
            decision="DENY",
            at=Micros(5_000),
            rule_id="r",
            agent_id="a",
            for_job="{}",
        )
        await store.decision_log.record(decided)
        found = await store.decision_log.page(DecisionQuery(tenant=tenant, since=0, until=10, agent_id="a"))
        assert [item.job_id for item in found.items] == [decided.job_id]
        assert await store.jobs.decisions(decided.job_id, 5) == ["{}"]


async def test_one_live_seed_is_enough(cluster: Cluster, free_port: "type[int]", opened: Open) -> None:
    options = cluster.options(4)
    dead = ("127.0.0.1", free_port())
    store = await opened(StoreOptions(url=options.url, cluster=(dead, *options.cluster)))
    await use_everything(store)


async def test_a_creation_is_two_round_trips_there(cluster: Cluster, opened: Open) -> None:
    store = await opened(cluster.options(0))
    for _ in range(20):
        await store.jobs.create(make_job())  # until every node knows the script
    before = store.round_trips
    await store.jobs.create(make_job())
    assert store.round_trips == before + 2


async def test_a_job_with_a_record_has_its_input(cluster: Cluster, opened: Open) -> None:
    """While a node is away some creations fail; what was not refused, and what is there at all, is whole."""
    hasty = await opened(msgspec.structs.replace(cluster.options(1), operation_timeout=0.1))
    store = await opened(cluster.options(1))
    for _ in range(20):
        await store.jobs.create(make_job())
    await cluster.nodes[0].kill()
    jobs = [make_job() for _ in range(40)]
    answers = await asyncio.gather(*(hasty.jobs.create(job) for job in jobs), return_exceptions=True)
    assert any(isinstance(answer, StoreUnavailableError) for answer in answers), "a third of the keys is away"
    deadline = time.monotonic() + 30
    for job, answer in zip(jobs, answers, strict=True):
        while True:
            try:
                detail = await store.jobs.get_detail(job.record.id)
                request = await store.jobs.request(job.record.id)
                break
            except StoreUnavailableError:
                assert time.monotonic() < deadline
        if answer is None or detail is not None:
            assert detail is not None and detail.context == job.context and request == job.request, answer
        if isinstance(answer, NotRunError):
            assert detail is None, "who is told that nothing is stored may ask for it anew"


async def test_a_slot_that_moves_is_followed(cluster: Cluster, opened: Open) -> None:
    store = await opened(cluster.options(0))
    key = "cfg:system:default"
    await store.configs.put("system", "default", {"a": 1}, 0)
    slot = int(await ask(cluster, 0, "CLUSTER", "KEYSLOT", key))
    source = slot * 3 // SLOTS
    target = (source + 1) % 3
    source_id, target_id = await ask(cluster, source, "CLUSTER", "MYID"), await ask(cluster, target, "CLUSTER", "MYID")
    await ask(cluster, target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    await ask(cluster, source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    moved = await ask(
        cluster, source, "MIGRATE", "127.0.0.1", cluster.nodes[target].port, key, 0, 5000, "AUTH", PASSWORD
    )
    assert moved == "OK"
    # Half-way: the old node still owns the slot and sends askers on, one at a time.
    document = await store.configs.get("system", "default")
    assert document is not None
    await store.configs.put("system", "default", {"a": 2}, 1)
    for at in (target, source):
        await ask(cluster, at, "CLUSTER", "SETSLOT", slot, "NODE", target_id)
    document = await store.configs.get("system", "default")
    assert document is not None
    assert (document.data, document.revision) == ({"a": 2}, 2)


async def test_a_dead_master_is_replaced_by_its_replica(cluster: Cluster, opened: Open) -> None:
    store = await opened(cluster.options(1))
    jobs = [make_job() for _ in range(30)]
    await asyncio.gather(*(store.jobs.create(job) for job in jobs))
    for at in range(3):
        await eventually(cluster, at + 3, ("DBSIZE",), await ask(cluster, at, "DBSIZE"))
    await cluster.nodes[0].kill()
    deadline = time.monotonic() + 30
    pending = {job.record.id for job in jobs}
    while pending:
        assert time.monotonic() < deadline
        for job_id in list(pending):
            pending -= await _found(store, job_id)
    await use_everything(store)


async def _found(store: Store, job_id: JobId) -> set[JobId]:
    started = time.monotonic()
    try:
        record = await store.jobs.get(job_id)
    except StoreUnavailableError:
        return set()
    finally:
        assert time.monotonic() - started < 3.5
    assert record is not None
    return {job_id}
