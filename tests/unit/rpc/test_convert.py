"""Verdicts from and to the wire: nothing that is not plainly an allow becomes one."""

import pytest
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2

from cordum.core.ids import RuleId, SnapshotId
from cordum.core.policy.decision import (
    NO_CONSTRAINTS,
    ONE_APPROVAL,
    ApprovalTerms,
    Budgets,
    Constraints,
    Decision,
    Diff,
    Remediation,
    Sandbox,
    Toolchain,
    Verdict,
)
from cordum.rpc import convert

FULL = Verdict(
    decision=Decision.ALLOW_WITH_CONSTRAINTS,
    reason="why",
    rule_id=RuleId("r"),
    snapshot=SnapshotId("1:abc"),
    constraints=Constraints(
        budgets=Budgets(max_runtime_ms=2**40, max_retries=2, max_artifact_bytes=2**41, max_concurrent_jobs=4),
        sandbox=Sandbox(isolated=True, network_allowlist=("a",), fs_read_only=("b",), fs_read_write=("c",)),
        toolchain=Toolchain(allowed_tools=("t",), allowed_commands=("ls",)),
        diff=Diff(max_files=1, max_lines=2, deny_path_globs=("*.key",)),
        redaction_level="strict",
    ),
    approval=ApprovalTerms(required=2, roles=("a", "b"), expires_after_s=1.5, escalate_after_s=1, escalate_to=("c",)),
    retry_after_ms=1500,
    remediations=(Remediation(id="i", title="t", add_labels={"a": "b"}, remove_labels=("c",)),),
)


@pytest.mark.parametrize("decision", list(Decision))
def test_a_verdict_survives_the_wire(decision: Decision) -> None:
    sent = Verdict(**{field: getattr(FULL, field) for field in FULL.__struct_fields__} | {"decision": decision})
    response = convert.response_from_verdict(sent, job_id="j1")
    got = convert.verdict_from_response(safety_pb2.PolicyCheckResponse.FromString(response.SerializeToString()), 1.5)

    meant = {f: getattr(sent, f) for f in sent.__struct_fields__} | {"checked_at": 1_500_000}
    # Terms travel only with the decision they mean something for.
    if decision is not Decision.REQUIRE_APPROVAL:
        meant["approval"] = ONE_APPROVAL
    if decision is not Decision.THROTTLE:
        meant["retry_after_ms"] = 0
    assert got == Verdict(**meant)
    assert response.approval_required is (decision is Decision.REQUIRE_APPROVAL)
    assert response.approval_ref == ("j1" if decision is Decision.REQUIRE_APPROVAL else "")


def test_no_constraints_are_absent_on_the_wire_and_some_have_all_four_parts() -> None:
    assert not convert.response_from_verdict(Verdict(decision=Decision.ALLOW)).HasField("constraints")
    wire = convert.constraints_to_proto(Constraints(redaction_level="low"))
    assert all(wire.HasField(part) for part in ("budgets", "sandbox", "toolchain", "diff"))


@pytest.mark.parametrize("number", [0, 6, 7, 99])
def test_a_decision_we_do_not_know_denies(number: int) -> None:
    verdict = convert.verdict_from_response(safety_pb2.PolicyCheckResponse(decision=number, rule_id="r"), 0.0)
    assert (verdict.decision, verdict.rule_id) == (Decision.DENY, "r")
    assert str(number) in verdict.reason


@pytest.mark.parametrize("number", [1, 5])
def test_an_allow_that_asks_for_approval_is_no_allow(number: int) -> None:
    response = safety_pb2.PolicyCheckResponse(decision=number, approval_required=True)
    assert convert.verdict_from_response(response, 0.0).decision is Decision.REQUIRE_APPROVAL


def test_a_denial_that_asks_for_approval_stays_a_denial() -> None:
    response = safety_pb2.PolicyCheckResponse(decision=2, approval_required=True)
    assert convert.verdict_from_response(response, 0.0).decision is Decision.DENY


def test_negative_limits_deny() -> None:
    response = safety_pb2.PolicyCheckResponse(decision=5)
    response.constraints.budgets.max_retries = -1
    verdict = convert.verdict_from_response(response, 0.0)
    assert (verdict.decision, verdict.constraints) == (Decision.DENY, NO_CONSTRAINTS)


def test_the_question_about_a_job_has_all_that_policy_looks_at() -> None:
    job = job_pb2.JobRequest(
        job_id="j",
        topic="job.x",
        tenant_id="acme",
        principal_id="alice",
        labels={"a": "b"},
        memory_id="m",
        priority=1,
        meta=job_pb2.JobMetadata(capability="c", risk_tags=["t"]),
        budget=job_pb2.Budget(deadline_ms=5),
    )
    question = convert.check_request_from_job(job, b"{}")

    assert (question.job_id, question.topic, question.tenant, question.principal_id) == ("j", "job.x", "acme", "alice")
    assert (dict(question.labels), question.memory_id, question.priority) == ({"a": "b"}, "m", 1)
    assert (question.meta.capability, list(question.meta.risk_tags), question.budget.deadline_ms) == ("c", ["t"], 5)
    assert question.effective_config == b"{}"


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (safety_pb2.PolicyCheckResponse(), "without a decision"),
        (safety_pb2.PolicyCheckResponse(policy_snapshot="s"), "without a decision"),
        (safety_pb2.PolicyCheckResponse(decision=1), "without the policy"),
        (safety_pb2.PolicyCheckResponse(decision=99), "without the policy"),
    ],
)
def test_what_is_no_answer_at_all(response: safety_pb2.PolicyCheckResponse, fault: str) -> None:
    assert fault in convert.nonsense_in(response)


@pytest.mark.parametrize("number", range(1, 100))
def test_what_is_an_answer(number: int) -> None:
    assert convert.nonsense_in(safety_pb2.PolicyCheckResponse(decision=number, policy_snapshot="s")) == ""
    assert convert.nonsense_in(safety_pb2.PolicyCheckResponse(decision=2)) == ""


def test_clients_that_do_not_know_the_terms_skip_them() -> None:
    plain = convert.response_from_verdict(Verdict(decision=Decision.REQUIRE_APPROVAL, snapshot=SnapshotId("s")))
    with_terms = convert.response_from_verdict(
        Verdict(decision=Decision.REQUIRE_APPROVAL, snapshot=SnapshotId("s"), approval=ApprovalTerms(required=3))
    )
    read = safety_pb2.PolicyCheckResponse.FromString(with_terms.SerializeToString())
    assert read.ListFields() == plain.ListFields()
    read.DiscardUnknownFields()
    assert read == plain
