"""The policy answer: nothing is an allow that the kernel did not plainly allow."""

from typing import Any

import msgspec
import pytest
from cap.pb.cordum.agent.v1 import safety_pb2
from cordum_guard.client import _parse_safety_decision
from cordum_guard.types import Decision as GuardDecision

from cordum.core.ids import SnapshotId, TenantId
from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.convert import response_from_verdict
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.policy.decision import decision_body, failed_body, redacted
from cordum.services.gateway.policy.question import PolicyCheck, PolicyMeta, check_request

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


def test_every_member_is_there_in_both_spellings_and_texts_are_never_null() -> None:
    answer = body(2)
    for name in list(answer):
        head, *rest = name.split("_")
        assert answer[head + "".join(word.capitalize() for word in rest)] == answer[name]
    assert answer["reason"] == "" and answer["matched_rules"] == [] and answer["remediations"] == []


def test_the_rule_says_how_long_to_wait() -> None:
    verdict = Verdict(decision=Decision.THROTTLE, snapshot=SnapshotId("s"), retry_after_ms=1500)
    answer = decision_body(response_from_verdict(verdict), 0.0)
    assert answer["throttle_duration_seconds"] == answer["throttleDurationSeconds"] == 1.5
    assert body(1)["throttle_duration_seconds"] == 0


def test_what_is_hidden_keeps_the_decision() -> None:
    answer = redacted(body(2, reason="no", rule_id="r", policy_snapshot="s"))
    assert (answer["decision"], answer["rule_id"], answer["matchedRules"]) == ("DENY", "matched", ["matched"])
    assert answer["reason"] == "" and "no" not in answer.values()


def test_a_question_without_an_answer_is_a_denial_to_whoever_only_reads_the_decision() -> None:
    answer = failed_body(ApiError("safety_unavailable"))
    assert (answer["decision"], answer["code"], answer["status"]) == ("DENY", "safety_unavailable", 503)
    for production in (False, True):
        assert _parse_safety_decision(answer, production=production).decision is GuardDecision.DENY


def test_what_a_job_says_is_asked_as_a_submit_would_ask_it() -> None:
    check = PolicyCheck(topic="job.x", content=msgspec.Raw(b'"a bomb"'), context=msgspec.Raw(b'{"k":1}'))
    request = check_request(check, TENANT, "")
    assert request.labels["_content.prompt"] == "a bomb"
    assert request.labels["_content.payload_json"] == '{"k":1}'
    assert b"a bomb" in request.input_content and request.input_size_bytes == len(request.input_content)


def test_a_long_context_is_asked_about_in_full() -> None:
    context = msgspec.json.encode({"filler": "x" * 200_000, "end": "needle"})
    request = check_request(PolicyCheck(topic="job.x", context=msgspec.Raw(context)), TENANT, "")
    assert b"needle" in request.input_content


def test_both_places_count_and_contradictions_are_refused() -> None:
    check = PolicyCheck(topic="job.x", risk_tags=["a"], meta=PolicyMeta(risk_tags=["b"], labels={"x": "1"}))
    assert list(check_request(check, TENANT, "").meta.risk_tags) == ["b", "a"]
    for wrong, code in (
        (PolicyCheck(topic="job.x", capability="a", meta=PolicyMeta(capability="b")), "ambiguous_capability"),
        (PolicyCheck(topic="job.x", labels={"x": "2"}, meta=PolicyMeta(labels={"x": "1"})), "ambiguous_label"),
    ):
        with pytest.raises(ApiError) as caught:
            check_request(wrong, TENANT, "")
        assert (caught.value.slug, caught.value.status) == (code, 400)


def test_nobody_speaks_for_the_control_plane() -> None:
    labels = {
        "_content.prompt": "harmless",
        "approval_granted": "true",
        "cordum.x": "1",
        "_source": "workflow",
        "a": "1",
    }
    request = check_request(PolicyCheck(topic="job.x", meta=PolicyMeta(labels=labels)), TENANT, "")
    assert dict(request.labels) == {"a": "1"}


def test_an_action_travels_with_the_question() -> None:
    check = PolicyCheck(topic="job.x", action=msgspec.Raw(b'{"kind":"file"}'))
    assert check_request(check, TENANT, "").labels["_action.descriptor_json"] == '{"kind":"file"}'
    with pytest.raises(ApiError) as caught:
        check_request(PolicyCheck(topic="job.x", action=msgspec.Raw(b'"' + b"x" * 70_000 + b'"')), TENANT, "")
    assert caught.value.slug == "action_too_large"


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
