"""A candidate policy tried on the kernel itself: faults as data, both policies' answers, nothing in force disturbed."""

import asyncio
import json
from collections.abc import Callable, Iterable

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import KernelProcess, MakeKernel, put_bundles

from cordum.core.policy.decision import Decision
from cordum.embedded.servers import Server
from cordum.rpc import convert
from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.rpc.kernel_client import KernelClient, TrialRefusedError
from cordum.store.store import Store

Connect = Callable[..., KernelClient]

FILE = """
version: f
rules:
  - {id: no, match: {risk_tags: [destructive]}, decision: deny, reason: never}
  - {id: yes, match: {topics: [job.a]}, decision: allow, reason: fine}
"""
STORED = "rules:\n  - {id: b, match: {topics: [job.b]}, decision: allow, reason: fine}\n"
CANDIDATE = """
rules:
  - {id: b, match: {topics: [job.b]}, decision: require_approval, reason: ask, approval: {required: 2, roles: [secops]}}
  - {id: c, match: {topics: [job.c]}, decision: throttle, reason: later, throttle: {retry_after_ms: 1500}}
tests:
  - {name: b needs approval, request: {topic: job.b}, expect: {decision: require_approval, rule_id: b}}
  - {name: c is free, request: {topic: job.c}, expect: {decision: allow}}
"""


def asked(topic: str) -> bytes:
    data: bytes = safety_pb2.PolicyCheckRequest(job_id="j", topic=topic).SerializeToString()
    return data


@pytest_asyncio.fixture
async def kernel(make_kernel: MakeKernel, redis_server: Server, bundle_store: Store) -> KernelProcess:
    await put_bundles(bundle_store, {"secops/b": STORED})
    return await make_kernel(policy=FILE, REDIS_URL=redis_server.url).start()


def decisions(answers: Iterable[bytes]) -> list[Decision]:
    read = [safety_pb2.PolicyCheckResponse.FromString(answer) for answer in answers]
    return [convert.verdict_from_response(answer, 0.0).decision for answer in read]


async def test_both_policies_answer_with_the_base_and_all_other_bundles(
    connect: Connect, kernel: KernelProcess
) -> None:
    """W18: staging is production with one bundle changed."""
    client = connect(kernel.address)
    before = await client.snapshots()
    answer = await client.trial(
        kernel_pb2.TrialRequest(
            changes={"secops/b": CANDIDATE}, requests=[asked(f"job.{name}") for name in "abc"], explain=True
        )
    )
    assert not answer.faults
    assert decisions(answer.current_responses) == [Decision.ALLOW, Decision.ALLOW, Decision.DENY]
    assert decisions(answer.responses) == [Decision.ALLOW, Decision.REQUIRE_APPROVAL, Decision.THROTTLE]
    assert answer.current_snapshot == before[0] and answer.snapshot not in ("", before[0])
    assert answer.snapshot.partition("|")[0] == before[0].partition("|")[0]
    assert answer.rules == 4

    by_b = convert.verdict_from_response(safety_pb2.PolicyCheckResponse.FromString(answer.responses[1]), 0.0)
    assert (by_b.approval.required, by_b.approval.roles) == (2, ("secops",))
    by_c = convert.verdict_from_response(safety_pb2.PolicyCheckResponse.FromString(answer.responses[2]), 0.0)
    assert by_c.retry_after_ms == 1500
    assert [explanation.decided_by for explanation in answer.explanations] == ["rule"] * 3

    passed = {test.name: test.passed for test in answer.tests}
    assert passed == {"b needs approval": True, "c is free": False}
    failed = next(test for test in answer.tests if not test.passed)
    assert (json.loads(failed.expected), failed.got) == ({"decision": "allow"}, "THROTTLE")
    assert any("expected" in problem for problem in failed.problems)
    hits = {rule.rule_id: rule.hits for rule in answer.coverage}
    assert (hits["b"], hits["no"]) == (1, 0)

    # Nothing has changed for anybody.
    assert await client.snapshots() == before
    verdict = await client.check(safety_pb2.PolicyCheckRequest(job_id="j", topic="job.b"))
    assert verdict.decision is Decision.ALLOW


async def test_a_trial_of_what_is_published_gives_the_snapshot_it_then_has(
    connect: Connect, kernel: KernelProcess, bundle_store: Store
) -> None:
    client = connect(kernel.address)
    candidate = await client.trial(kernel_pb2.TrialRequest(changes={"secops/b": CANDIDATE, "secops/new": STORED}))
    await put_bundles(bundle_store, {"secops/b": CANDIDATE, "secops/new": STORED})
    await kernel.logged("policy_loaded", 2)
    assert (await client.snapshots())[0] == candidate.snapshot
    unchanged = await client.trial(kernel_pb2.TrialRequest())
    assert unchanged.snapshot == unchanged.current_snapshot == candidate.snapshot


async def test_differences_come_with_a_request_that_shows_them(connect: Connect, kernel: KernelProcess) -> None:
    client = connect(kernel.address)
    answer = await client.trial(kernel_pb2.TrialRequest(changes={"secops/b": ""}, differences=True))
    assert answer.rules == 2
    found = {(one.before_rule_id, one.before_decision, one.after_decision, one.direction) for one in answer.differences}
    assert ("b", "ALLOW", "DENY", "escalated") in found
    assert json.loads(answer.differences[0].request)["topic"] == "job.b"


async def test_faults_of_all_bundles_are_data_with_their_places(connect: Connect, kernel: KernelProcess) -> None:
    client = connect(kernel.address)
    changes = {
        "secops/b": "rules:\n  - {id: b, decision: alow}\n",
        "packs/p": "rules:\n  - {id: p, match: {topics: ['job.[']}, decision: deny}\nrule: x\n",
    }
    answer = await client.trial(kernel_pb2.TrialRequest(changes=changes, requests=[asked("job.b")]))
    places = {(fault.bundle, fault.line) for fault in answer.faults}
    assert places == {("secops/b", 2), ("packs/p", 2), ("packs/p", 3)}
    assert all(fault.column and fault.message for fault in answer.faults)
    assert (answer.snapshot, list(answer.responses)) == ("", [])
    assert decisions(answer.current_responses) == [Decision.ALLOW]


async def test_a_bundle_id_nobody_can_have_is_a_fault(connect: Connect, kernel: KernelProcess) -> None:
    client = connect(kernel.address)
    answer = await client.trial(kernel_pb2.TrialRequest(changes={"bad\nid": STORED}))
    assert "not a bundle id" in answer.faults[0].message


async def test_a_broken_stored_bundle_can_be_mended_by_trial(
    connect: Connect, kernel: KernelProcess, bundle_store: Store
) -> None:
    client = connect(kernel.address)
    await put_bundles(bundle_store, {"secops/b": "rules: ["})
    await kernel.logged("policy_reload_failed")
    assert (await client.trial(kernel_pb2.TrialRequest())).faults[0].bundle == "secops/b"
    mended = await client.trial(kernel_pb2.TrialRequest(changes={"secops/b": STORED}))
    assert not mended.faults


async def test_a_trial_has_bounds(connect: Connect, kernel: KernelProcess) -> None:
    client = connect(kernel.address)
    with pytest.raises(TrialRefusedError, match="1025 requests; at most 1024"):
        await client.trial(kernel_pb2.TrialRequest(requests=[asked("job.a")] * 1025))
    with pytest.raises(TrialRefusedError, match="1025 changed bundles"):
        await client.trial(kernel_pb2.TrialRequest(changes={f"b{number}": STORED for number in range(1025)}))
    too_large = await client.trial(kernel_pb2.TrialRequest(changes={"big": "#" * (3 * 1024 * 1024)}))
    assert "more than the 2097152 allowed" in too_large.faults[0].message


async def test_decisions_go_on_while_a_large_trial_is_compiled(connect: Connect, kernel: KernelProcess) -> None:
    client = connect(kernel.address)
    rules = "".join(
        f"  - {{id: r{n}, match: {{topics: [job.t{n}]}}, decision: deny, reason: r}}\n" for n in range(3000)
    )
    under_way = asyncio.create_task(client.trial(kernel_pb2.TrialRequest(changes={"big": f"rules:\n{rules}"})))
    decided = 0
    while not under_way.done():
        verdict = await client.check(safety_pb2.PolicyCheckRequest(job_id="j", topic="job.a"))
        assert verdict.decision is Decision.ALLOW
        decided += 1
    assert (await under_way).rules == 3003
    assert decided > 10


async def test_warnings_name_the_rule(connect: Connect, kernel: KernelProcess) -> None:
    client = connect(kernel.address)
    shadowed = "rules:\n  - {id: late, match: {topics: [job.a]}, decision: deny, reason: too late}\n"
    answer = await client.trial(kernel_pb2.TrialRequest(changes={"z/late": shadowed}))
    assert any(warning.rule_id == "late" and warning.kind for warning in answer.warnings)
