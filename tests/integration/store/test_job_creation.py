"""What is written when a job is created, and what of it another process reads."""

import pytest
import redis.asyncio as redis
from tests.integration.store.conftest import Open, make_job

from cordum.core.ids import JobId, TenantId
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server
from cordum.store import JobExistsError, NewJob, Store, StoreOptions

TENANT = TenantId("default")


async def test_a_created_job_reads_back_as_it_was_written(store: Store, peer: Store) -> None:
    job = make_job()
    await store.jobs.create(job)
    assert await peer.jobs.get(job.record.id) == job.record
    assert await peer.jobs.request(job.record.id) == job.request
    detail = await peer.jobs.get_detail(job.record.id)
    assert detail is not None
    assert (detail.record, detail.context, detail.result) == (job.record, job.context, None)


async def test_creating_a_job_takes_one_round_trip(store: Store) -> None:
    await store.jobs.create(make_job())  # the first call teaches the server its script
    before = store.round_trips
    await store.jobs.create(make_job())
    assert store.round_trips == before + 1


@pytest.mark.seed("S7")
async def test_every_key_of_a_job_has_its_retention(redis_server: Server, raw: "redis.Redis", opened: Open) -> None:
    store = await opened(StoreOptions(url=redis_server.url, meta_ttl=5000, data_ttl=700))
    job = make_job()
    await store.jobs.create(job)
    await store.jobs.put_result(job.record.id, b"{}")
    await store.jobs.push_decision(job.record.id, "{}")
    job_id, trace = job.record.id, job.record.trace_id
    own = ("job:meta:", "job:state:", "job:req:", "job:events:", "job:decisions:")
    for key in (*(prefix + job_id for prefix in own), f"trace:{trace}", "job:tenant:active:default"):
        assert 4990 <= await raw.ttl(key) <= 5000, key
    for key in (f"ctx:{job_id}", f"res:{job_id}"):
        assert 690 <= await raw.ttl(key) <= 700, key
    without_end = [key async for key in raw.scan_iter() if await raw.ttl(key) == -1]
    assert sorted(without_end) == ["job:index:pending", "job:index:tenant:default", "job:recent"]


async def test_the_keys_and_values_are_those_of_the_specification(store: Store, raw: "redis.Redis") -> None:
    job = make_job(deadline=1_900_000_000_000_000)
    await store.jobs.create(job)
    record = job.record
    assert await raw.get(f"job:state:{record.id}") == "PENDING"
    assert await raw.zscore("job:index:pending", record.id) == record.updated_at
    assert await raw.zscore("job:recent", record.id) == record.updated_at
    assert await raw.zscore("job:deadline", record.id) == 1_900_000_000_000_000
    assert await raw.smembers("job:tenant:active:default") == {record.id}
    assert await raw.smembers(f"trace:{record.trace_id}") == {record.id}
    assert await raw.lrange(f"job:events:{record.id}", 0, -1) == [f'{{"ts":{record.updated_at},"state":"PENDING"}}']
    stored = await raw.hgetall(f"job:meta:{record.id}")
    assert stored["labels"] == '{"_source":"api","näme":"wört"}'
    assert stored["updated_at"] == str(record.updated_at)


async def test_creating_the_same_job_again_does_no_harm(store: Store, raw: "redis.Redis") -> None:
    job = make_job()
    await store.jobs.create(job)
    await store.jobs.create(job)
    assert await raw.llen(f"job:events:{job.record.id}") == 1
    assert await store.jobs.get(job.record.id) == job.record


async def test_a_job_id_that_is_taken_is_refused_and_its_holder_left_alone(store: Store, raw: "redis.Redis") -> None:
    first = make_job(tenant="alpha")
    await store.jobs.create(first)
    record = make_job(tenant="beta").record
    thief = NewJob(
        record=record.__class__(
            **{name: getattr(record, name) for name in record.__struct_fields__} | {"id": first.record.id}
        ),
        request=b"other",
        context=b"other",
    )
    with pytest.raises(JobExistsError):
        await store.jobs.create(thief)
    detail = await store.jobs.get_detail(first.record.id)
    assert detail is not None
    assert (detail.record, detail.context) == (first.record, first.context)
    assert await store.jobs.request(first.record.id) == first.request
    assert await raw.llen(f"job:events:{first.record.id}") == 1
    assert (await store.jobs.list_page(TenantId("beta"))).items == ()


async def test_a_job_nobody_knows_is_none(store: Store) -> None:
    missing = JobId("nobody")
    assert await store.jobs.get(missing) is None
    assert await store.jobs.get_detail(missing) is None
    assert await store.jobs.request(missing) is None
    assert await store.jobs.get_many([missing]) == [None]


async def test_an_idempotency_key_belongs_to_one_job_of_one_tenant(store: Store, peer: Store) -> None:
    a, b = JobId("a"), JobId("b")
    assert await store.jobs.claim_idempotency_key(TENANT, "k", a) is None
    assert await store.jobs.claim_idempotency_key(TENANT, "k", a) is None
    assert await peer.jobs.claim_idempotency_key(TENANT, "k", b) == a
    assert await peer.jobs.claim_idempotency_key(TenantId("other"), "k", b) is None
    await peer.jobs.release_idempotency_key(TENANT, "k", b)
    assert await peer.jobs.claim_idempotency_key(TENANT, "k", b) == a
    await store.jobs.release_idempotency_key(TENANT, "k", a)
    assert await peer.jobs.claim_idempotency_key(TENANT, "k", b) is None


async def test_recent_jobs_are_trimmed_to_a_thousand(store: Store, raw: "redis.Redis") -> None:
    await raw.zadd("job:recent", {f"old-{number}": number for number in range(1500)})
    await store.jobs.create(make_job())
    assert await raw.zcard("job:recent") == 1000


async def test_counts_tell_how_many_jobs_stand_where(store: Store) -> None:
    for _ in range(3):
        await store.jobs.create(make_job())
    await store.jobs.create(make_job(state=JobState.DENIED))
    counts = await store.jobs.counts()
    assert (counts[JobState.PENDING], counts[JobState.DENIED], counts[JobState.RUNNING]) == (3, 1, 0)
    assert await store.jobs.active_count(TENANT) == 3


async def test_only_payloads_are_ever_followed(store: Store) -> None:
    await store.configs.put("system", "default", {"secret": 1}, 0)
    assert not await store.jobs.expire_result("redis://cfg:system:default")
    assert not await store.jobs.expire_result("res:1")
    assert await store.jobs.expire_result(await store.jobs.put_result(JobId("1"), b"x"))
