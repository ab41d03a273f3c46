"""The policy answer: nothing is an allow that the kernel did not plainly allow."""

from typing import Any

import pytest
from cap.pb.cordum.agent.v1 import safety_pb2
from cordum_guard.client import _parse_safety_decision
from cordum_guard.types import Decision as GuardDecision

from cordum.core.ids import TenantId
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.policy.decision import PolicyCheck, PolicyMeta, check_request, decision_body

TENANT = TenantId("default")


def body(number: int, **fields: Any) -> dict[str, Any]:
    return decision_body(safety_pb2.PolicyCheckResponse(decision=number, **fields), 0.0)


@pytest.mark.parametrize(
    ("number", "word", "guard"),
    [
        (1, "ALLOW", GuardDecision.ALLOW),
        (2, "DENY", GuardDecision.DENY),
        (3, "REQUIRE_APPROVAL", GuardDecision.REQUIRE_APPROVAL),
        (4, "THROTTLE", GuardDecision.THROTTLE),
        (5, "ALLOW", GuardDecision.ALLOW),
        (0, "DENY", GuardDecision.DENY),
        (6, "DENY", GuardDecision.DENY),
        (7, "DENY", GuardDecision.DENY),
        (99, "DENY", GuardDecision.DENY),
    ],
)
def test_a_guard_reads_the_decision_that_was_made(number: int, word: str, guard: GuardDecision) -> None:
    answer = body(number)
    assert answer["decision"] == word
    for production in (False, True):
        assert _parse_safety_decision(answer, production=production).decision is guard


def test_an_allow_that_demands_approval_is_no_allow() -> None:
    assert body(1, approval_required=True)["decision"] == "REQUIRE_APPROVAL"


def test_both_spellings_are_there() -> None:
    answer = body(2, reason="no", rule_id="r", policy_snapshot="s")
    assert answer["rule_id"] == answer["ruleId"] == "r" and answer["matched_rules"] == ["r"]
    assert answer["policy_snapshot"] == answer["policySnapshot"] == "s"
    assert answer["decision_type"] == "DECISION_TYPE_DENY"
    assert body(4)["throttle_duration_seconds"] > 0


def test_what_clients_send_at_the_top_belongs_to_the_meta() -> None:
    check = PolicyCheck(topic="job.x", capability="c", risk_tags=["r"], meta=PolicyMeta(labels={"a": "1"}))
    request = check_request(check, TENANT, "")
    assert (request.meta.capability, list(request.meta.risk_tags), dict(request.labels)) == ("c", ["r"], {"a": "1"})


def test_a_question_about_another_tenant_is_refused() -> None:
    for check in (PolicyCheck(topic="job.x", tenant="b"), PolicyCheck(topic="job.x", meta=PolicyMeta(tenant_id="b"))):
        with pytest.raises(ApiError) as caught:
            check_request(check, TENANT, "")
        assert caught.value.status == 403
    with pytest.raises(ApiError) as caught:
        check_request(PolicyCheck(), TENANT, "")
    assert caught.value.slug == "topic_is_required"
