"""Between CAP's safety messages and our own types (spec-safety section 2)."""

import math
from collections.abc import Iterable

from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.ids import Micros, RuleId, SnapshotId, micros
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
from cordum.rpc.gen.cordum.v1 import kernel_pb2

DECISION_TO_WIRE: dict[Decision, int] = {
    Decision.ALLOW: 1,
    Decision.DENY: 2,
    Decision.REQUIRE_APPROVAL: 3,
    Decision.THROTTLE: 4,
    Decision.ALLOW_WITH_CONSTRAINTS: 5,
}
"""`DecisionType` numbers; 0 (unspecified), 6 and 7 are never an input decision."""

_DECISION_FROM_WIRE = {number: decision for decision, number in DECISION_TO_WIRE.items()}

DECISION_TYPE_NAMES: dict[Decision, str] = {
    decision: str(safety_pb2.DecisionType.Name(number)) for decision, number in DECISION_TO_WIRE.items()
}
"""The protobuf names, for `decision_type` in JSON answers."""


def nonsense_in(response: safety_pb2.PolicyCheckResponse) -> str:
    """What makes this no answer at all, or "". A denial needs no reason to be believed; anything else names its policy.

    A decision of a number we do not know is an answer: it denies (spec-safety section 2).
    """
    if response.decision == 0:
        return "an answer without a decision"
    if response.decision != DECISION_TO_WIRE[Decision.DENY] and not response.policy_snapshot:
        return "a decision without the policy it is by"
    return ""


def verdict_from_response(response: safety_pb2.PolicyCheckResponse, now: float) -> Verdict:
    """What the kernel's answer means, stamped with `now` (Unix seconds).

    A decision we do not know, or limits that make no sense, mean DENY; "allow, but approval required" means
    REQUIRE_APPROVAL. An answer never turns into an allow that it did not plainly give.
    """
    decision = _DECISION_FROM_WIRE.get(response.decision)
    if decision is None:
        return _refusal(response, f"unknown decision {response.decision} from the safety kernel", now)
    if response.approval_required and decision.permits:
        decision = Decision.REQUIRE_APPROVAL
    constraints = NO_CONSTRAINTS
    if response.HasField("constraints"):
        constraints = constraints_from_proto(response.constraints)
        if not _sensible(constraints):
            return _refusal(response, "the safety kernel gave a negative limit", now)
    approval, retry_after_ms = ONE_APPROVAL, 0
    if decision in (Decision.REQUIRE_APPROVAL, Decision.THROTTLE):
        try:
            extras = extras_of(response)
        except DecodeError:
            return _refusal(response, "the safety kernel gave terms that cannot be read", now)
        if decision is Decision.THROTTLE:
            retry_after_ms = extras.retry_after_ms
        elif extras.HasField("approval"):
            approval = approval_from_proto(extras.approval)
        if not _sound(approval) or retry_after_ms < 0:
            return _refusal(response, "the safety kernel gave terms that make no sense", now)
    return Verdict(
        decision=decision,
        reason=response.reason,
        rule_id=RuleId(response.rule_id),
        snapshot=SnapshotId(response.policy_snapshot),
        constraints=constraints,
        remediations=remediations_from_proto(response.remediations),
        approval=approval,
        retry_after_ms=retry_after_ms,
        checked_at=micros(now),
    )


def response_from_verdict(verdict: Verdict, *, job_id: str = "") -> safety_pb2.PolicyCheckResponse:
    """The answer the kernel sends; `job_id` becomes the approval reference when approval is required."""
    needs_approval = verdict.decision is Decision.REQUIRE_APPROVAL
    response = safety_pb2.PolicyCheckResponse(
        decision=DECISION_TO_WIRE[verdict.decision],
        reason=verdict.reason,
        policy_snapshot=verdict.snapshot,
        rule_id=verdict.rule_id,
        approval_required=needs_approval,
        approval_ref=job_id if needs_approval else "",
        remediations=[_remediation_to_proto(remediation) for remediation in verdict.remediations],
    )
    if not verdict.constraints.is_empty:
        response.constraints.CopyFrom(constraints_to_proto(verdict.constraints))
    extras = kernel_pb2.ResponseExtras()
    if needs_approval and verdict.approval != ONE_APPROVAL:
        extras.approval.CopyFrom(approval_to_proto(verdict.approval))
    if verdict.decision is Decision.THROTTLE:
        extras.retry_after_ms = verdict.retry_after_ms
    # What CAP's message does not know it keeps and passes on, and its clients skip.
    response.MergeFromString(extras.SerializeToString())
    return response


def extras_of(response: safety_pb2.PolicyCheckResponse) -> kernel_pb2.ResponseExtras:
    """What a kernel of ours says beyond CAP's fields; empty when it has nothing to add or is another kernel.

    Raises DecodeError when what stands there cannot be read.
    """
    return kernel_pb2.ResponseExtras.FromString(response.SerializeToString())


def approval_from_proto(wire: kernel_pb2.ApprovalTerms) -> ApprovalTerms:
    """The terms as our type; 0 required means 1."""
    return ApprovalTerms(
        required=wire.required or 1,
        roles=tuple(wire.roles),
        expires_after_s=wire.expires_after_s,
        escalate_after_s=wire.escalate_after_s,
        escalate_to=tuple(wire.escalate_to),
    )


def approval_to_proto(terms: ApprovalTerms) -> kernel_pb2.ApprovalTerms:
    """The terms for the wire."""
    return kernel_pb2.ApprovalTerms(
        required=terms.required,
        roles=terms.roles,
        expires_after_s=terms.expires_after_s,
        escalate_after_s=terms.escalate_after_s,
        escalate_to=terms.escalate_to,
    )


def check_request_from_job(job: job_pb2.JobRequest, effective_config: bytes = b"") -> safety_pb2.PolicyCheckRequest:
    """The question to the kernel about a job as it travels on the bus; `effective_config` is JSON or empty."""
    request = safety_pb2.PolicyCheckRequest(
        job_id=job.job_id,
        topic=job.topic,
        tenant=job.tenant_id,
        priority=job.priority,
        principal_id=job.principal_id,
        labels=job.labels,
        memory_id=job.memory_id,
        effective_config=effective_config,
    )
    if job.HasField("budget"):
        request.budget.CopyFrom(job.budget)
    if job.HasField("meta"):
        request.meta.CopyFrom(job.meta)
    return request


def constraints_from_proto(wire: safety_pb2.PolicyConstraints) -> Constraints:
    """Constraints as our type; what is absent on the wire has its default."""
    return Constraints(
        budgets=Budgets(
            max_runtime_ms=wire.budgets.max_runtime_ms,
            max_retries=wire.budgets.max_retries,
            max_artifact_bytes=wire.budgets.max_artifact_bytes,
            max_concurrent_jobs=wire.budgets.max_concurrent_jobs,
        ),
        sandbox=Sandbox(
            isolated=wire.sandbox.isolated,
            network_allowlist=tuple(wire.sandbox.network_allowlist),
            fs_read_only=tuple(wire.sandbox.fs_read_only),
            fs_read_write=tuple(wire.sandbox.fs_read_write),
        ),
        toolchain=Toolchain(
            allowed_tools=tuple(wire.toolchain.allowed_tools),
            allowed_commands=tuple(wire.toolchain.allowed_commands),
        ),
        diff=Diff(
            max_files=wire.diff.max_files,
            max_lines=wire.diff.max_lines,
            deny_path_globs=tuple(wire.diff.deny_path_globs),
        ),
        redaction_level=wire.redaction_level,
    )


def constraints_to_proto(constraints: Constraints) -> safety_pb2.PolicyConstraints:
    """Constraints for the wire: all four sub-messages are present, as clients expect."""
    budgets, sandbox, diff = constraints.budgets, constraints.sandbox, constraints.diff
    return safety_pb2.PolicyConstraints(
        budgets=safety_pb2.BudgetConstraints(
            max_runtime_ms=budgets.max_runtime_ms,
            max_retries=budgets.max_retries,
            max_artifact_bytes=budgets.max_artifact_bytes,
            max_concurrent_jobs=budgets.max_concurrent_jobs,
        ),
        sandbox=safety_pb2.SandboxProfile(
            isolated=sandbox.isolated,
            network_allowlist=sandbox.network_allowlist,
            fs_read_only=sandbox.fs_read_only,
            fs_read_write=sandbox.fs_read_write,
        ),
        toolchain=safety_pb2.ToolchainConstraints(
            allowed_tools=constraints.toolchain.allowed_tools,
            allowed_commands=constraints.toolchain.allowed_commands,
        ),
        diff=safety_pb2.DiffConstraints(
            max_files=diff.max_files, max_lines=diff.max_lines, deny_path_globs=diff.deny_path_globs
        ),
        redaction_level=constraints.redaction_level,
    )


def remediations_from_proto(wire: Iterable[safety_pb2.PolicyRemediation]) -> tuple[Remediation, ...]:
    """Remediations as our type, in the order they were offered."""
    return tuple(
        Remediation(
            id=item.id,
            title=item.title,
            summary=item.summary,
            replacement_topic=item.replacement_topic,
            replacement_capability=item.replacement_capability,
            add_labels=dict(item.add_labels),
            remove_labels=tuple(item.remove_labels),
        )
        for item in wire
    )


def _remediation_to_proto(remediation: Remediation) -> safety_pb2.PolicyRemediation:
    return safety_pb2.PolicyRemediation(
        id=remediation.id,
        title=remediation.title,
        summary=remediation.summary,
        replacement_topic=remediation.replacement_topic,
        replacement_capability=remediation.replacement_capability,
        add_labels=remediation.add_labels,
        remove_labels=remediation.remove_labels,
    )


def _refusal(response: safety_pb2.PolicyCheckResponse, why: str, now: float) -> Verdict:
    checked_at: Micros = micros(now)
    snapshot, rule = SnapshotId(response.policy_snapshot), RuleId(response.rule_id)
    return Verdict(decision=Decision.DENY, reason=why, rule_id=rule, snapshot=snapshot, checked_at=checked_at)


def _sound(terms: ApprovalTerms) -> bool:
    times = (terms.expires_after_s, terms.escalate_after_s)
    return terms.required > 0 and all(math.isfinite(time) and time >= 0 for time in times)


def _sensible(constraints: Constraints) -> bool:
    budgets, diff = constraints.budgets, constraints.diff
    numbers = (
        budgets.max_runtime_ms,
        budgets.max_retries,
        budgets.max_artifact_bytes,
        budgets.max_concurrent_jobs,
        diff.max_files,
        diff.max_lines,
    )
    return min(numbers) >= 0
