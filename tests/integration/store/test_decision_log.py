"""The decision log on a real server."""

import pytest
import redis.asyncio as redis
from tests.integration.store.conftest import Open, make_job

from cordum.core.ids import JobId, Micros, TenantId
from cordum.core.policy.decision import Budgets, Constraints
from cordum.embedded.servers import Server
from cordum.runtime.clock import SystemClock, unix_micros
from cordum.store import NewJob, Store, StoreOptions
from cordum.store.cluster import key_slot
from cordum.store.decision_log import DecisionQuery, LoggedDecision, read_cursor

TENANT = TenantId("default")
BASE = 1_795_432_425_000  # ms


def made(number: int, at: int = 0, **known: object) -> LoggedDecision:
    fields: dict[str, object] = {
        "tenant": TENANT,
        "job_id": JobId(f"job-{number}"),
        "topic": "job.a",
        "decision": "ALLOW",
        "rule_id": "r1",
        "at": Micros((BASE + (at or number)) * 1000),
    }
    return LoggedDecision(**(fields | known))  # type: ignore[arg-type]


def query(**known: object) -> DecisionQuery:
    return DecisionQuery(**({"tenant": TENANT, "since": 0, "until": 2 * BASE} | known))  # type: ignore[arg-type]


async def found(store: Store, **known: object) -> list[str]:
    return [item.job_id for item in (await store.decision_log.page(query(**known))).items]


async def test_decisions_are_found_by_what_they_are_about(store: Store) -> None:
    log = store.decision_log
    await log.record(made(1))
    await log.record(made(2, decision="DENY", rule_id="r2", reason="no", agent_id="a7"))
    await log.record(made(3, decision="ALLOW_WITH_CONSTRAINTS", topic="job.b"))
    await log.record(made(4, decision="REQUIRE_APPROVAL", rule_id=""))
    await log.record(made(5, decision="THROTTLE", agent_id="a7", tenant=TenantId("other")))
    assert await found(store) == ["job-4", "job-3", "job-2", "job-1"]
    assert await found(store, verdict="deny") == ["job-2"]
    assert await found(store, verdict="constrain") == ["job-3"]
    assert await found(store, verdict="require_approval") == ["job-4"]
    assert await found(store, topic="job.b") == ["job-3"]
    assert await found(store, rule_id="r1") == ["job-3", "job-1"]
    assert await found(store, rule_id="r1", topic="job.a") == ["job-1"]
    assert await found(store, agent_id="a7") == ["job-2"]
    assert await found(store, since=BASE + 2, until=BASE + 3) == ["job-3", "job-2"]
    assert await found(store, tenant=TenantId("other")) == ["job-5"]


async def test_a_decision_comes_back_as_it_went(store: Store) -> None:
    whole = made(
        1,
        decision="ALLOW_WITH_CONSTRAINTS",
        reason="ünd so",
        snapshot="a|b",
        agent_id="a",
        principal="alice",
        constraints=Constraints(budgets=Budgets(max_runtime_ms=5)),
        approval_status="approved",
        approval_decision="approve",
    )
    await store.decision_log.record(whole)
    assert (await store.decision_log.page(query())).items == (whole,)


async def test_pages_meet_even_within_one_millisecond(store: Store) -> None:
    for number in range(25):
        await store.decision_log.record(made(number, at=7))
    seen: list[str] = []
    cursor = ""
    while True:
        page = await store.decision_log.page(query(limit=10, cursor=cursor))
        seen += [item.job_id for item in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert sorted(seen) == sorted(f"job-{number}" for number in range(25))
    assert len(seen) == 25


async def test_what_matches_seldom_is_still_found(store: Store) -> None:
    for number in range(1, 600):
        await store.decision_log.record(made(number, topic="job.rare" if number == 1 else "job.a"))
    # Searched by rule, the rare one is the last of all.
    assert await found(store, rule_id="r1", topic="job.rare", limit=1) == ["job-1"]


@pytest.mark.parametrize("text", ["", "x", "nonsense!", "MTIz", "OjEyMw", "é"])
def test_a_cursor_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        read_cursor(text)


async def test_the_same_decision_is_there_once(store: Store) -> None:
    await store.decision_log.record(made(1))
    await store.decision_log.record(made(1))
    assert await found(store) == ["job-1"]


async def test_everything_runs_out(redis_server: Server, opened: Open, raw: "redis.Redis") -> None:
    store = await opened(StoreOptions(url=redis_server.url, decision_ttl=1000))
    await store.decision_log.record(made(1, agent_id="a", decision="DENY"))
    keys = [str(key) async for key in raw.scan_iter("gov:dec:*")]
    assert len(keys) == 6
    assert all([0 < await raw.ttl(key) <= 1020 for key in keys])
    assert len({key_slot(key) for key in keys}) == 1


async def test_a_new_job_and_its_decision_are_one_round_trip(store: Store) -> None:
    job = make_job()
    warm = make_job()
    # The first use of a script teaches the server.
    await store.jobs.create(NewJob(record=warm.record, request=warm.request, decision=made(0, tenant="other")))
    before = store.round_trips
    now = unix_micros(SystemClock())
    decision = made(1, job_id=job.record.id, at=now // 1000 - BASE, decision="DENY", for_job='{"decision":"DENY"}')
    await store.jobs.create(NewJob(record=job.record, request=job.request, context=job.context, decision=decision))
    assert store.round_trips - before == 1
    assert await found(store, verdict="deny") == [job.record.id]
    assert await store.jobs.decisions(job.record.id, 5) == ['{"decision":"DENY"}']
