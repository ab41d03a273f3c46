"""Votes and what finds approvals again, on a real server."""

import asyncio
from collections.abc import Sequence

import redis.asyncio as redis
from tests.integration.store.conftest import make_job

from cordum.core.ids import JobId, Micros, RuleId, SnapshotId, TenantId
from cordum.core.jobs import approvals
from cordum.core.jobs.approvals import Resolution
from cordum.core.jobs.quorum import Vote
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import ApprovalTerms, Decision, Verdict
from cordum.store import Applied, Cast, Refused, Store, Voted

DEFAULT = TenantId("default")
TWO = ApprovalTerms(required=2)


def asks(terms: ApprovalTerms = TWO, snapshot: str = "s1", at: int = 1_700_000_000_000_000) -> Verdict:
    return Verdict(
        decision=Decision.REQUIRE_APPROVAL,
        rule_id=RuleId("r"),
        snapshot=SnapshotId(snapshot),
        approval=terms,
        checked_at=Micros(at),
    )


async def read(store: Store, job_id: JobId) -> JobRecord:
    record = await store.jobs.get(job_id)
    assert record is not None
    return record


async def parked(store: Store, terms: ApprovalTerms = TWO, tenant: str = "default") -> JobRecord:
    job = make_job(tenant=tenant)
    await store.jobs.create(job)
    change = approvals.require_approval(job.record, asks(terms), "hash")
    await store.jobs.apply(job.record.id, change, now=job.record.updated_at, known=job.record)
    return await read(store, job.record.id)


def yes(name: str, reason: str = "") -> Vote:
    return Vote(who=f"principal:{name}", by=name, role="operator", at="1795432425075101", reason=reason)


async def cast(store: Store, record: JobRecord, name: str, verdict: Verdict | None = None) -> Voted | Refused:
    ballot = approvals.ballot(record, verdict or asks(), yes(name))
    return await store.jobs.vote(record.id, ballot, now=Micros(record.updated_at + 1_000))


async def test_the_last_vote_needed_makes_the_move(store: Store, raw: "redis.Redis") -> None:
    record = await parked(store)
    first = await cast(store, record, "ann")
    assert isinstance(first, Voted) and (first.outcome, first.votes) == (Cast.COUNTED, 1)
    waiting = await read(store, record.id)
    assert waiting.state is JobState.APPROVAL_REQUIRED and [vote.by for vote in waiting.approval_votes] == ["ann"]
    assert await raw.zscore("job:index:approval_required", record.id) == waiting.updated_at

    last = await cast(store, record, "bob")
    assert isinstance(last, Voted) and (last.outcome, last.votes) == (Cast.MADE, 2)
    approved = await read(store, record.id)
    assert (approved.state, approved.approval_status, approved.approval_by) == (JobState.PENDING, "approved", "bob")
    assert [vote.by for vote in approved.approval_votes] == ["ann", "bob"]
    assert await raw.zscore("job:index:approval_required", record.id) is None
    assert await raw.zscore("job:index:pending", record.id) == approved.updated_at


async def test_the_same_person_counts_once(store: Store) -> None:
    record = await parked(store)
    await cast(store, record, "ann")
    again = await cast(store, record, "ann")
    assert isinstance(again, Voted) and (again.outcome, again.votes) == (Cast.REPEATED, 1)
    assert len((await read(store, record.id)).approval_votes) == 1


async def test_of_fifty_votes_at_once_one_makes_the_move(store: Store, peer: Store) -> None:
    record = await parked(store, ApprovalTerms(required=3))
    verdict = asks(ApprovalTerms(required=3))
    outcomes = await asyncio.gather(
        *(cast((store, peer)[n % 2], record, f"person-{n % 25}", verdict) for n in range(50))
    )
    taken = [outcome.outcome for outcome in outcomes if isinstance(outcome, Voted)]
    assert taken.count(Cast.MADE) == 1 and taken.count(Cast.COUNTED) == 2
    approved = await read(store, record.id)
    assert approved.approval_status == "approved" and len({vote.who for vote in approved.approval_votes}) == 3
    await store.jobs.repair_indexes([record.id])
    assert await store.jobs.counts() | {JobState.PENDING: 1} == await store.jobs.counts()


async def test_a_vote_says_what_was_said_to_the_letter(store: Store) -> None:
    record = await parked(store)
    words = 'ein "Wort" \\ äöü ☃ {"x": [1]}\n'
    ballot = approvals.ballot(record, asks(), yes("ann", words))
    await store.jobs.vote(record.id, ballot, now=Micros(record.updated_at + 1))
    await cast(store, record, "bob")
    first, _ = (await read(store, record.id)).approval_votes
    assert (first.reason, first.at) == (words, "1795432425075101")


async def test_votes_under_an_older_policy_are_not_taken(store: Store) -> None:
    record = await parked(store)
    await cast(store, record, "ann", asks(snapshot="s2"))
    late = await cast(store, record, "bob", asks(snapshot="s3"))
    assert isinstance(late, Refused) and late.why == "safety_snapshot"
    kept = await read(store, record.id)
    assert kept.safety_snapshot == "s2" and [vote.by for vote in kept.approval_votes] == ["ann"]


async def test_another_demand_begins_the_count_anew(store: Store) -> None:
    record = await parked(store)
    await cast(store, record, "ann")
    three = ApprovalTerms(required=3)
    await cast(store, await read(store, record.id), "bob", asks(three, "s2"))
    kept = await read(store, record.id)
    assert kept.approval_terms == three and [vote.by for vote in kept.approval_votes] == ["bob"]


async def test_nobody_votes_on_what_was_decided(store: Store) -> None:
    record = await parked(store)
    no = approvals.reject(record, Resolution(by="cy", role="admin", at=Micros(5)))
    assert isinstance(await store.jobs.apply(record.id, no, now=record.updated_at, known=record), Applied)
    late = await cast(store, record, "ann")
    assert isinstance(late, Refused) and (late.why, late.state) == ("state", JobState.DENIED)
    assert isinstance(await cast(store, make_job().record, "ann"), Refused)


async def test_unreadable_votes_do_not_count(store: Store) -> None:
    record = await parked(store)
    await store.jobs.annotate(
        record.id, {"approval_votes": "not json"}, allowed_from=frozenset({JobState.APPROVAL_REQUIRED})
    )
    taken = await cast(store, record, "ann")
    assert isinstance(taken, Voted) and taken.votes == 1


async def resolved(store: Store, count: int, tenant: str = "default") -> Sequence[JobId]:
    """Approvals rejected one after the other."""
    ids = []
    for n in range(count):
        record = await parked(store, tenant=tenant)
        no = approvals.reject(record, Resolution(by="cy", role="admin", at=Micros(5)))
        await store.jobs.apply(record.id, no, now=Micros(record.updated_at + n + 1), known=record)
        ids.append(record.id)
    return ids


async def test_every_resolved_approval_is_on_exactly_one_page(store: Store) -> None:
    ids = await resolved(store, 23)
    await resolved(store, 3, tenant="other")
    found: list[JobId] = []
    cursor: Micros | None = None
    pages = 0
    while True:
        page = await store.approvals.resolved_page(DEFAULT, limit=5, cursor=cursor)
        found += [record.id for record in page.items]
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(ids) and pages == 5


async def test_those_of_one_moment_stay_on_one_page(store: Store, raw: "redis.Redis") -> None:
    ids = await resolved(store, 6)
    await raw.zadd("approval:index:resolved:default", dict.fromkeys(ids, 1_700_000_000_000_000))
    page = await store.approvals.resolved_page(DEFAULT, limit=2)
    assert len(page.items) == 6 and page.next_cursor is None


async def test_a_search_goes_past_what_does_not_match(store: Store) -> None:
    ids = await resolved(store, 9)
    page = await store.approvals.resolved_page(DEFAULT, limit=1, wanted=lambda record: record.id == ids[0])
    assert [record.id for record in page.items] == [ids[0]]


async def test_what_points_to_nothing_is_forgotten(store: Store, raw: "redis.Redis") -> None:
    first, second = await resolved(store, 2)
    await raw.delete(f"job:meta:{first}")
    assert [record.id for record in (await store.approvals.resolved_page(DEFAULT, limit=5)).items] == [second]
    assert await raw.zscore("approval:index:resolved:default", first) is None


async def test_what_was_not_published_is_found_until_it_is(store: Store) -> None:
    (job_id,) = await resolved(store, 1)
    now = Micros((await read(store, job_id)).updated_at)
    assert await store.approvals.unpublished(now, 10) == [job_id]
    assert await store.approvals.unpublished(Micros(now - 1), 10) == []
    await store.approvals.mark_published(job_id, approvals.published(now))
    assert await store.approvals.unpublished(now, 10) == []
    assert (await read(store, job_id)).approval_publish_status == "published"


async def test_what_waits_for_a_person_keeps_its_input(store: Store, raw: "redis.Redis") -> None:
    plain = make_job()
    await store.jobs.create(plain)
    record = await parked(store)
    born_waiting = make_job(state=JobState.APPROVAL_REQUIRED)
    await store.jobs.create(born_waiting)
    day = 86_400
    assert await raw.ttl(f"ctx:{plain.record.id}") <= day
    assert await raw.ttl(f"ctx:{record.id}") > 6 * day
    assert await raw.ttl(f"ctx:{born_waiting.record.id}") > 6 * day


async def test_a_run_is_known_by_its_status(store: Store, raw: "redis.Redis") -> None:
    await raw.set("wf:run:r1", '{"id": "r1", "status": "Succeeded", "steps": {}}')
    await raw.set("wf:run:r2", "{")
    assert [await store.approvals.run_status(run) for run in ("r1", "r2", "r3")] == ["succeeded", "", ""]
