"""The simulated Redis answers as a real one does: the same commands and scripts go to both, every reply is compared.

The store itself makes most of them, so what it sends is what is compared.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from random import Random

import pytest
from tests.simulation.any_commands import any_command
from tests.simulation.clocks import NamedIds
from tests.simulation.link import _raw, _text
from tests.simulation.redis import SimRedis
from tests.simulation.redis_values import RedisError

from cordum.core.audit.event import AuditEvent, EventType
from cordum.core.errors import CordumError
from cordum.core.ids import DispatchId, JobId, Micros, PoolName, PrincipalId, TenantId, Topic, TraceId, WorkerId, micros
from cordum.core.jobs import approvals, lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.embedded.servers import Server
from cordum.runtime.clock import SystemClock
from cordum.store import DeadLetter, NewJob, Store, scripts
from cordum.store.concurrency import Limit
from cordum.store.connection import ClientTLS, open_link
from cordum.store.decision_log import LoggedDecision
from cordum.store.link import Command, Link, Outcome, Payload, refusal
from cordum.store.options import StoreOptions

USED_BY_SCHEDULERS = {
    script.sha
    for script in (
        scripts.ANNOTATE,
        scripts.APPEND_AUDIT,
        scripts.CREATE,
        scripts.ENTER,
        scripts.LOG_DECISION,
        scripts.PUT_CONFIG,
        scripts.RELEASE,
        scripts.RENEW,
        scripts.SETTLE_EVENTS,
        scripts.TAKE_PARKED,
        scripts.TRANSITION,
    )
}
TENANTS = (TenantId("default"), TenantId("other"))
_STREAM_ID = re.compile(r"^\d{13}-\d+$")


class BothLinks:
    """Sends everything to a real server and to the simulated one, and compares what they say."""

    def __init__(self, real: Link) -> None:
        self._real = real
        self.sim = SimRedis(time.time)
        self.compared = 0

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        outcomes = await self._real.execute(commands, deadline)
        for command, real in zip(commands, outcomes, strict=True):
            simulated = self.simulated(command)
            assert _comparable(command, simulated) == _comparable(command, real), command
            self.compared += 1
        return outcomes

    def simulated(self, command: Command) -> Outcome:
        try:
            reply = self.sim.execute(command)
        except RedisError as error:
            return refusal(str(error))
        return _raw(reply) if type(command) is Payload else _text(reply)

    async def aclose(self) -> None:
        await self._real.aclose()


def _comparable(command: Command, outcome: Outcome) -> object:
    """An outcome without what two servers may legally say differently."""
    if isinstance(outcome, Exception):
        return type(outcome).__name__, str(outcome).split(" ")[0]
    if command[0] == "SMEMBERS" and isinstance(outcome, list):
        return sorted(map(str, outcome))
    if command[0] in ("XRANGE", "XREVRANGE") and isinstance(outcome, list):
        return [entry[1] if isinstance(entry, list) else entry for entry in outcome]
    if command[0] in ("TTL", "PTTL", "XADD"):
        return type(outcome)
    return outcome


async def both(server: Server) -> tuple[Store, BothLinks]:
    options = StoreOptions(url=server.url)
    links = BothLinks(open_link(options, ClientTLS(options.tls)))
    return Store(options, SystemClock(), NamedIds("test"), links), links


async def test_the_store_sees_no_difference(redis_server: Server) -> None:
    store, links = await both(redis_server)
    random = Random(7)
    try:
        for number in range(60):
            await _live_a_job(store, random, number)
        assert links.compared > 2_000
        assert not links.sim.unknown
        assert links.sim.known_scripts >= USED_BY_SCHEDULERS
    finally:
        await store.aclose()


async def _live_a_job(store: Store, random: Random, number: int) -> None:
    """A job's way through the store, in any order and as far as it gets; what is refused is refused by both."""
    job_id, tenant = JobId(f"job-{number % 40}"), random.choice(TENANTS)
    now = micros(time.time())
    record = JobRecord(
        id=job_id,
        state=random.choice((JobState.PENDING, JobState.PENDING, JobState.APPROVAL_REQUIRED)),
        created_at=now,
        updated_at=now,
        topic=Topic("job.work"),
        tenant=tenant,
        principal=PrincipalId("tester"),
        trace_id=TraceId(f"trace-{number}"),
        deadline_unix=micros(time.time() + 100) if random.random() < 0.3 else Micros(0),
    )
    request = b'{"jobId":"x","tenantId":"%s"}' % tenant.encode()
    try:
        await store.jobs.create(NewJob(record=record, request=request, context=b"\xff{}"))
    except CordumError:
        pass
    steps = [
        _move,
        _move,
        _dispatch,
        _log,
        _limit,
        _park,
        _look,
        _lease,
        _letter,
        _configure,
        _audit,
        _count,
        _annotate,
    ]
    for _ in range(random.randint(3, 9)):
        try:
            await random.choice(steps)(store, random, job_id, tenant)
        except CordumError:
            continue


async def _move(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    known = await store.jobs.get(job_id)
    now = micros(time.time())
    if known is None:
        return
    verdict = Verdict(decision=random.choice(tuple(Decision)), reason="so it is", checked_at=now)
    changes = (
        lifecycle.cancel("not wanted"),
        lifecycle.fail("it did not work", "worker_failed"),
        lifecycle.park(known, "no_workers", 3, verdict),
        lifecycle.deny(verdict),
        lifecycle.time_out(known, "too long"),
        lifecycle.lose_worker(known, 2),
        approvals.require_approval(known, verdict, "hash"),
        approvals.approve(known, approvals.Resolution(by="boss", role="admin", at=now)),
    )
    await store.jobs.apply(job_id, random.choice(changes), now=now, known=random.choice((known, None)))


async def _dispatch(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    known, now = await store.jobs.get(job_id), micros(time.time())
    if known is None:
        return
    verdict = Verdict(decision=Decision.ALLOW, checked_at=now)
    dispatch_id = DispatchId(f"d{random.randrange(1000)}")
    change = lifecycle.dispatch(
        known,
        verdict,
        worker=WorkerId("w"),
        pool=PoolName("main"),
        dispatch_id=dispatch_id,
        now=now,
        deadline=Micros(0),
    )
    await store.jobs.apply(job_id, change, now=now, known=known)
    undo = lifecycle.undo_dispatch(known, dispatch_id)
    end = lifecycle.succeed(worker=WorkerId("w"), dispatch_id=dispatch_id, result_ptr=f"redis://res:{job_id}")
    await store.jobs.apply(job_id, random.choice((undo, end)), now=now)


async def _log(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    decision = random.choice(tuple(Decision)).value
    now = micros(time.time())
    logged = LoggedDecision(
        tenant=tenant, job_id=job_id, topic="job.work", decision=decision, at=now, rule_id="r", for_job='{"a":1}'
    )
    await store.decision_log.record(logged)


async def _limit(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    now = micros(time.time())
    limits = [Limit(f"tenant:{tenant}", random.randint(1, 4)), Limit("installation", 3)]
    await store.concurrency.enter(limits, job_id, now)
    await store.concurrency.renew({"installation": [job_id]}, now)
    await store.concurrency.renew_kept({"installation": [job_id]}, now)
    await store.concurrency.count("installation", now)
    if random.random() < 0.5:
        await store.concurrency.leave([limit.scope for limit in limits], [job_id])


async def _park(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    lane, now = PoolName(random.choice(("main", "other"))), micros(time.time())
    await store.parked.park(lane, job_id, Micros(now + random.randint(-5_000_000, 5_000_000)))
    await store.parked.take_due(lane, now, random.randint(1, 5), 30.0)
    await store.parked.take_waiting(lane, now, random.randint(1, 5), 30.0)
    if random.random() < 0.5:
        await store.parked.remove(lane, job_id)
    await store.parked.queues(now)


async def _look(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    now = micros(time.time())
    await store.jobs.get_detail(job_id)
    await store.jobs.events(job_id)
    await store.jobs.counts()
    await store.jobs.ids_in_state(random.choice(tuple(JobState)), now, 5)
    await store.jobs.due_deadlines(Micros(now + 200_000_000), 5)
    await store.jobs.list_page(tenant, limit=3)
    await store.jobs.repair_indexes([job_id, JobId("nobody")])
    await store.jobs.trim_indexes(now)


async def _lease(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    lease = await store.leases.acquire(f"lock:{random.randrange(2)}", 60.0)
    if lease is not None:
        await store.leases.renew(lease)
        await store.leases.release(lease)
        await store.leases.release(lease)


async def _letter(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    await store.dead_letters.add(DeadLetter(job_id=job_id, tenant=tenant, topic="job.work", reason="why"))
    await store.dead_letters.get(tenant, job_id)


async def _configure(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    await store.configs.update("org", tenant, lambda data: {**data, str(random.randrange(5)): [1, {"a": None}]})
    await store.configs.put("org", tenant, {}, expected_revision=random.randrange(3))


async def _audit(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    event = AuditEvent(
        id=f"{job_id}-{random.random()}",
        event_type=EventType.DECISION.value,
        tenant=tenant,
        action="dispatch_denied",
        created_at=micros(time.time()),
    )
    await store.audit.append(event)
    await store.audit.verify(tenant)


async def _count(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    await store.jobs.active_count(tenant)
    await store.bypasses.count()
    await store.jobs.claim_idempotency_key(tenant, str(random.randrange(4)), job_id)
    await store.jobs.release_idempotency_key(tenant, str(random.randrange(4)), job_id)


async def _annotate(store: Store, random: Random, job_id: JobId, tenant: TenantId) -> None:
    await store.jobs.annotate(job_id, {"team": "blue"}, allowed_from=frozenset({JobState.PENDING}))


@pytest.mark.parametrize("seed", range(4))
async def test_any_command_is_answered_alike(redis_server: Server, seed: int) -> None:
    options = StoreOptions(url=redis_server.url)
    links = BothLinks(open_link(options, ClientTLS(options.tls)))
    random = Random(seed)
    try:
        for _ in range(40):
            batch = [any_command(random) for _ in range(25)]
            await links.execute(batch, asyncio.get_running_loop().time() + 5)
        assert links.compared == 1_000
        assert not links.sim.unknown
    finally:
        await links.aclose()
