"""`/api/v1/policy`: asking the safety kernel (spec-gateway section 7)."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2

from cordum.core.access.permissions import Permission
from cordum.core.errors import CordumError
from cordum.core.policy.decision import Decision
from cordum.rpc.kernel_client import KernelClient
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, from_exception
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy.decision import decision_body, failed_body, redacted
from cordum.services.gateway.policy.explanation import explained
from cordum.services.gateway.policy.question import PolicyCheck, PolicyCheckBatch, check_of, check_request

Ask = Callable[[KernelClient, safety_pb2.PolicyCheckRequest], Awaitable[safety_pb2.PolicyCheckResponse]]


class Snapshots(msgspec.Struct):
    """The ids of the policies the kernel had, newest first."""

    snapshots: list[str]


async def evaluate(parts: Parts, call: Call) -> Answer:
    """What the policy says about a job."""
    return await _decide(parts, call, "policy.evaluate", KernelClient.evaluate)


async def simulate(parts: Parts, call: Call) -> Answer:
    """The same, leaving no trace in anything the policy counts."""
    return await _decide(parts, call, "policy.simulate", KernelClient.simulate)


async def explain(parts: Parts, call: Call) -> Answer:
    """The same, with the rules that were tried."""
    request = _request(parts, call, call.body)
    detail = await parts.kernel.explain_in_detail(request)
    response = safety_pb2.PolicyCheckResponse.FromString(detail.response)
    body = decision_body(response, parts.clock.now())
    _note(parts, call, "policy.explain", request, body)
    if _hides(parts, call, "policy.explain"):
        return answer(redacted(body))
    return answer(body | explained(detail))


async def evaluate_batch(parts: Parts, call: Call) -> Answer:
    """What the policy says about several jobs; one that cannot be answered does not spoil the others."""
    batch: PolicyCheckBatch = call.body
    bodies = await asyncio.gather(*(_answer_one(parts, call, raw) for raw in batch.requests))
    items = [{"index": at, **body} for at, body in enumerate(bodies)]
    counts = Counter(str(body["decision"]) for body in bodies)
    parts.auditor.note(
        call.caller,
        "policy.evaluate_batch",
        resource_type="policy",
        message=", ".join(f"{word} {count}" for word, count in sorted(counts.items())),
        extra={"requests": str(len(items)), "errors": str(sum("error" in body for body in bodies))},
        tenant=call.tenant,
    )
    return answer({"items": items, "count": len(items)})


async def snapshots(parts: Parts, call: Call) -> Answer:
    """The policies the kernel had."""
    return answer(Snapshots(snapshots=list(await parts.kernel.snapshots())))


async def _decide(parts: Parts, call: Call, mode: str, ask: Ask) -> Answer:
    request = _request(parts, call, call.body)
    response = await ask(parts.kernel, request)
    body = decision_body(response, parts.clock.now())
    _note(parts, call, mode, request, body)
    return answer(redacted(body) if _hides(parts, call, mode) else body)


async def _answer_one(parts: Parts, call: Call, raw: msgspec.Raw) -> dict[str, Any]:
    try:
        request = _request(parts, call, check_of(raw))
        response = await parts.kernel.evaluate(request)
    except CordumError as error:
        return failed_body(from_exception(error))
    body = decision_body(response, parts.clock.now())
    body["job_id"], body["topic"] = request.job_id, request.topic
    return redacted(body) if _hides(parts, call, "policy.evaluate") else body


def _request(parts: Parts, call: Call, check: PolicyCheck) -> safety_pb2.PolicyCheckRequest:
    bound, named = call.caller.principal, check.principal_id or ""
    if bound and named and named != bound:
        raise ApiError("principal_access_denied")
    # Without a bound principal nobody is claimed in production; elsewhere the question may be about anybody.
    principal = bound or (named if parts.authenticator.trusts_header_principal else "")
    return check_request(check, call.tenant, principal)


def _hides(parts: Parts, call: Call, mode: str) -> bool:
    """Whether rules are not shown. Simulating and explaining show them to whoever may read the policy anyway."""
    if not parts.settings.policy_evaluate_redact:
        return False
    return mode == "policy.evaluate" or not call.caller.may(Permission.POLICY_READ)


def _note(parts: Parts, call: Call, mode: str, request: safety_pb2.PolicyCheckRequest, body: dict[str, Any]) -> None:
    decision = str(body["decision"])
    parts.auditor.note(
        call.caller,
        mode,
        resource_type="policy",
        resource_id=request.topic,
        job_id=request.job_id,
        agent_id=request.labels.get("agent_id", ""),
        reason=str(body["reason"]),
        decision=decision if decision in Decision.__members__ else "",
        matched_rule=str(body["rule_id"]),
        policy_version=str(body["policy_snapshot"]),
        tenant=call.tenant,
    )
