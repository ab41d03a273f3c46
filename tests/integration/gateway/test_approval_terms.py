"""How many have to approve, who counts, what time and the policy of today do to it: gateway and kernel together."""

import asyncio
import json

import httpx
import pytest
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import CoreMessage, envelope, subjects
from cordum.core.ids import JobId, SnapshotId, micros
from cordum.core.jobs import approvals
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.store.keys import job_lock

from .conftest import ALICE, BOB, POLICY, MakeWorld, World, eventually
from .test_approvals import park

CAROL, DAVE = "carol-key-0123456789abcdef", "dave-key-0123456789abcdef"
TWO = POLICY.replace(
    "decision: require_approval, reason: a person first}",
    "decision: require_approval, reason: a person first,\n"
    "     approval: {required: 2, roles: [operator], expires_after: 1h, escalate_after: 10m, escalate_to: [admin]}}",
)
assert TWO != POLICY


def keys(*people: tuple[str, str, str]) -> str:
    """Keys for (key, role, name)."""
    return json.dumps(
        [{"key": key, "tenant": "default", "role": role, "principal_id": name} for key, role, name in people]
    )


FOUR = keys((ALICE, "admin", "alice"), (BOB, "operator", "bob"), (CAROL, "operator", "carol"), (DAVE, "admin", "dave"))


async def stored(world: World, job_id: JobId) -> JobRecord:
    record = await world.store.jobs.get(job_id)
    assert record is not None
    return record


async def said(world: World, key: str, job_id: JobId, word: str = "approve") -> httpx.Response:
    return await (await world.client(key)).post(f"/api/v1/approvals/{job_id}/{word}", json={"reason": f"by {key[:3]}"})


# How many, and who


async def test_two_people_have_to_approve(make_world: MakeWorld) -> None:
    world = await make_world(TWO, FOUR)
    job_id = await park(await world.client(ALICE))
    first = (await said(world, BOB, job_id)).json()
    assert (first["status"], first["approvals"], first["required"]) == ("approval_recorded", 1, 2)
    assert (await stored(world, job_id)).state is JobState.APPROVAL_REQUIRED
    again = (await said(world, BOB, job_id)).json()
    assert (again["status"], again["approvals"]) == ("approval_recorded", 1), "one person is one person"
    [item] = (await (await world.client(BOB)).get("/api/v1/approvals")).json()["items"]
    assert (item["approvals"], item["required"], item["roles"]) == (1, 2, ["operator"])
    assert [one["by"] for one in item["approvers"]] == ["bob"] and 0 < item["time_remaining_ms"] <= 3_600_000

    second = (await said(world, CAROL, job_id)).json()
    assert (second["status"], second["approvals"], second["approved_by"]) == ("approved", 2, "carol")
    record = await stored(world, job_id)
    assert record.state is JobState.PENDING and [vote.by for vote in record.approval_votes] == ["bob", "carol"]


async def test_one_no_is_enough(make_world: MakeWorld) -> None:
    world = await make_world(TWO, FOUR)
    job_id = await park(await world.client(ALICE))
    await said(world, BOB, job_id)
    assert (await said(world, CAROL, job_id, "reject")).json()["status"] == "rejected"
    assert (await stored(world, job_id)).state is JobState.DENIED


async def test_only_the_roles_of_the_rule_have_a_say(make_world: MakeWorld) -> None:
    world = await make_world(TWO, FOUR)
    job_id = await park(await world.client(ALICE))
    for word in ("approve", "reject"):
        refused = await said(world, DAVE, job_id, word)
        assert (refused.status_code, refused.json()["code"]) == (403, "approval_role_required")
        assert refused.json()["required_roles"] == ["operator"] and "operator" in refused.json()["error"]
    assert not (await stored(world, job_id)).approval_votes

    record = await stored(world, job_id)
    await world.store.jobs.apply(job_id, approvals.escalate(record, micros(1.0)), now=record.updated_at, known=record)
    assert (await said(world, DAVE, job_id)).json()["status"] == "approval_recorded"
    [item] = (await (await world.client(BOB)).get("/api/v1/approvals")).json()["items"]
    assert item["escalated"] and item["roles"] == ["operator", "admin"]


async def test_of_fifty_approvers_at_once_one_approves(make_world: MakeWorld) -> None:
    people = [(f"person-{n:02}-0123456789abcdef", "operator", f"person-{n:02}") for n in range(50)]
    world = await make_world(keys=keys((ALICE, "admin", "alice"), *people))
    job_id = await park(await world.client(ALICE))
    outside = await world.outside()
    heard: list[str] = []

    async def keep(message: CoreMessage) -> None:
        heard.append(envelope.decode(message.data).job_request.job_id)

    await outside.subscribe(subjects.JOB_SUBMIT, keep)
    await outside.ping()
    answers = await asyncio.gather(*(said(world, key, job_id) for key, _, _ in people))
    assert {answer.status_code for answer in answers} == {200}
    words = [answer.json()["status"] for answer in answers]
    assert words.count("approved") == 1 and words.count("already_approved") == 49
    assert len({answer.json()["approved_by"] for answer in answers}) == 1, "everybody is told the same name"
    later = await park(await world.client(ALICE))
    await said(world, people[0][0], later)

    async def both() -> bool:
        return later in heard

    await eventually(both)
    assert heard == [job_id, later], "published once"
    audit = await world.store.audit.page(
        (await stored(world, job_id)).tenant, lambda event: event.action == "approve", limit=10, offset=0
    )
    assert sorted(event.job_id for event in audit.items) == sorted([job_id, later])


async def test_of_fifty_approvers_the_two_that_are_needed_count(make_world: MakeWorld) -> None:
    people = [(f"person-{n:02}-0123456789abcdef", "operator", f"person-{n:02}") for n in range(50)]
    world = await make_world(TWO, keys((ALICE, "admin", "alice"), *people))
    job_id = await park(await world.client(ALICE))
    words = [
        answer.json()["status"] for answer in await asyncio.gather(*(said(world, key, job_id) for key, _, _ in people))
    ]
    assert (words.count("approval_recorded"), words.count("approved"), words.count("already_approved")) == (1, 1, 48)
    assert len((await stored(world, job_id)).approval_votes) == 2


# Oneself


async def test_nobody_approves_their_own_and_is_told_how_to_find_somebody(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE))
    body = (await said(world, ALICE, job_id)).json()
    assert body["code"] == "self_approval_denied" and "you are alice" in body["error"]
    assert body["docs"] == "docs/guides/approvals.md" and "CORDUM_API_KEYS" in body["how_to"][0]
    audit = await world.store.audit.page(
        (await stored(world, job_id)).tenant, lambda event: event.job_id == job_id, limit=10, offset=0
    )
    assert "self_approval_denied" in [event.action for event in audit.items]


async def test_a_key_that_was_given_to_somebody_else_is_somebody_else(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE))
    identity = (await stored(world, job_id)).submitted_by.partition("|")[0]
    bobs = {"submitted_by": f"{identity}|principal:mallory"}
    await world.store.jobs.annotate(job_id, bobs, allowed_from=frozenset(JobState))
    assert (await said(world, ALICE, job_id)).json()["status"] == "approved", "both principals are proven, and differ"


async def test_names_that_are_only_claimed_are_not_two_people(make_world: MakeWorld) -> None:
    shared = "shared-key-0123456789abcdef"
    world = await make_world(keys=json.dumps([{"key": shared, "tenant": "default", "role": "admin"}]))
    job_id = await park(await world.client(shared, **{"X-Principal-Id": "one"}))
    two = await world.client(shared, **{"X-Principal-Id": "two"})
    refused = await two.post(f"/api/v1/approvals/{job_id}/approve")
    assert refused.json()["code"] == "self_approval_denied" and "with the API key" in refused.json()["error"]


async def test_a_job_from_the_bus_belongs_to_its_principal(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE))
    await world.store.jobs.annotate(
        job_id, {"submitted_by": "some-sender", "principal": "bob"}, allowed_from=frozenset(JobState)
    )
    assert (await said(world, BOB, job_id)).json()["code"] == "self_approval_denied"
    assert (await said(world, CAROL, job_id)).json()["status"] == "approved"


# The policy of today


async def reload(world: World, policy: str) -> None:
    """Waits until the kernel decides by another policy."""
    alice = await world.client(ALICE)
    before = (await alice.get("/api/v1/policy/snapshots")).json()["snapshots"][0]
    world.policy.write_text(policy)

    async def reloaded() -> bool:
        return bool((await alice.get("/api/v1/policy/snapshots")).json()["snapshots"][0] != before)

    await eventually(reloaded)


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("decision: deny, reason: not any more", 409),
        ("decision: throttle, reason: too many", 409),
        ("decision: allow", 200),
        ("decision: allow, constraints: {budgets: {max_retries: 1}}", 200),
        ("decision: require_approval, reason: still", 200),
    ],
)
async def test_the_policy_of_today_decides_whether_an_approval_counts(
    make_world: MakeWorld, rule: str, status: int
) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE), labels={"kind": "big"})
    before = await stored(world, job_id)
    await reload(
        world, POLICY.replace("rules:\n", f"rules:\n  - {{id: big, match: {{labels: {{kind: big}}}}, {rule}}}\n")
    )
    answer = await said(world, BOB, job_id)
    assert answer.status_code == status, answer.text
    after = await stored(world, job_id)
    if status == 409:
        assert answer.json()["code"] == "approval_stale_snapshot" and answer.json()["rule_id"] == "big"
        assert after.state is JobState.APPROVAL_REQUIRED and after.safety_snapshot == before.safety_snapshot
    else:
        assert after.state is JobState.PENDING and after.safety_rule_id == "big"
        assert after.approval_policy_snapshot == after.safety_snapshot != before.safety_snapshot


async def test_yes_to_an_easier_demand_is_no_yes_to_a_harder_one(make_world: MakeWorld) -> None:
    world = await make_world(TWO, FOUR)
    job_id = await park(await world.client(ALICE))
    await said(world, BOB, job_id)
    await reload(world, TWO.replace("required: 2", "required: 3"))
    told = (await said(world, CAROL, job_id)).json()
    assert (told["status"], told["approvals"], told["required"]) == ("approval_recorded", 1, 3)
    assert [vote.by for vote in (await stored(world, job_id)).approval_votes] == ["carol"]


async def test_without_the_kernel_nobody_approves(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE))
    await world.stop_kernel()
    assert (await said(world, BOB, job_id)).status_code == 503
    assert (await stored(world, job_id)).state is JobState.APPROVAL_REQUIRED


# Conflicts


async def test_whoever_holds_the_jobs_lock_is_waited_for(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE))
    lease = await world.store.leases.acquire(job_lock(job_id), 10.0)
    assert lease is not None
    busy = await said(world, BOB, job_id)
    assert (busy.status_code, busy.json()["code"], busy.json()["retryable"]) == (409, "approval_retryable_lock", True)
    waiting = asyncio.create_task(said(world, BOB, job_id))
    await world.store.leases.release(lease)
    assert (await waiting).json()["status"] == "approved"


async def test_a_run_that_has_ended_waits_for_nobody(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE), labels={"run_id": "r1"})
    await world.store._batcher.submit([("SET", "wf:run:r1", '{"status":"cancelled"}')])
    refused = await said(world, BOB, job_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_terminal_run")


async def test_what_expired_cannot_be_approved(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE))
    record = await stored(world, job_id)
    late = approvals.expire(record, micros(1.0), reason="late")
    await world.store.jobs.apply(job_id, late, now=record.updated_at, known=record)
    refused = await said(world, BOB, job_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_already_resolved")
    assert refused.json()["approval_status"] == "expired"


async def test_a_second_approval_of_the_same_job_is_published_too(make_world: MakeWorld) -> None:
    world = await make_world(keys=FOUR)
    job_id = await park(await world.client(ALICE))
    outside = await world.outside()
    heard: asyncio.Queue[job_pb2.JobRequest] = asyncio.Queue()

    async def keep(message: CoreMessage) -> None:
        heard.put_nowait(envelope.decode(message.data).job_request)

    await outside.subscribe(subjects.JOB_SUBMIT, keep)
    await outside.ping()
    await said(world, BOB, job_id)
    await asyncio.wait_for(heard.get(), 5)
    record = await stored(world, job_id)
    again = approvals.require_approval(record, _verdict_of(record), record.safety_job_hash)
    await world.store.jobs.apply(job_id, again, now=record.updated_at, known=record)
    assert (await said(world, CAROL, job_id)).json()["approved_by"] == "carol"
    assert (await asyncio.wait_for(heard.get(), 5)).job_id == job_id


def _verdict_of(record: JobRecord) -> Verdict:
    return Verdict(
        decision=Decision.REQUIRE_APPROVAL,
        snapshot=SnapshotId(record.safety_snapshot),
        checked_at=record.safety_checked_at,
    )
