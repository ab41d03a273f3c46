"""`/api/v1/policy`: asking the safety kernel (spec-gateway section 7)."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2

from cordum.rpc.kernel_client import KernelClient
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy.decision import PolicyCheck, check_request, decision_body

Ask = Callable[[KernelClient, safety_pb2.PolicyCheckRequest], Awaitable[safety_pb2.PolicyCheckResponse]]


class Snapshots(msgspec.Struct):
    """The ids of the policies the kernel had, newest first."""

    snapshots: list[str]


def _request(parts: Parts, call: Call) -> safety_pb2.PolicyCheckRequest:
    check: PolicyCheck = call.body
    bound, named = call.caller.principal, check.principal_id or ""
    if bound and named and named != bound:
        raise ApiError("principal_access_denied")
    # Without a bound principal nobody is claimed in production; elsewhere the question may be about anybody.
    principal = bound or (named if parts.authenticator.trusts_header_principal else "")
    return check_request(check, call.tenant, principal)


async def _decide(parts: Parts, call: Call, ask: Ask) -> Answer:
    response = await ask(parts.kernel, _request(parts, call))
    return answer(decision_body(response, parts.clock.now()))


async def evaluate(parts: Parts, call: Call) -> Answer:
    """What the policy says about a job."""
    return await _decide(parts, call, KernelClient.evaluate)


async def simulate(parts: Parts, call: Call) -> Answer:
    """The same, leaving no trace."""
    return await _decide(parts, call, KernelClient.simulate)


async def explain(parts: Parts, call: Call) -> Answer:
    """The same, with the rules that were tried."""
    detail = await parts.kernel.explain_in_detail(_request(parts, call))
    response = safety_pb2.PolicyCheckResponse.FromString(detail.response)
    body: dict[str, Any] = decision_body(response, parts.clock.now())
    body["decided_by"] = detail.decided_by
    body["rules"] = detail.rules
    body["candidates"] = detail.candidates
    body["trace"] = [
        {
            "rule_id": note.rule_id,
            "position": note.position,
            "matched": note.matched,
            "matcher": note.matcher,
            "wanted": note.wanted,
            "observed": note.observed,
        }
        for note in detail.tried
    ]
    return answer(body)


async def snapshots(parts: Parts, call: Call) -> Answer:
    """The policies the kernel had."""
    return answer(Snapshots(snapshots=list(await parts.kernel.snapshots())))
