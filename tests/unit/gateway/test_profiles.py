"""Answers in the form of the published SDK, held against its own models."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cordum_sdk._generated.models.approval_item import ApprovalItem
from cordum_sdk._generated.models.dlq_entry import DLQEntry
from cordum_sdk._generated.models.job_detail import JobDetail
from cordum_sdk._generated.models.list_jobs_response_200 import ListJobsResponse200
from cordum_sdk._generated.models.list_policy_bundles_response_200 import ListPolicyBundlesResponse200
from cordum_sdk._generated.models.output_rule import OutputRule
from cordum_sdk._generated.models.policy_audit_entry import PolicyAuditEntry
from cordum_sdk._generated.models.policy_check_response import PolicyCheckResponse
from cordum_sdk._generated.models.policy_rule import PolicyRule
from cordum_sdk._generated.models.policy_snapshot import PolicySnapshot
from cordum_sdk._generated.models.safety_decision import SafetyDecision

from cordum.services.gateway.profiles import Profile, adapter_of, profile_of, sdk
from cordum.services.gateway.routes import ROUTES

MOMENT = 1_795_432_425_075_101
ISO = datetime(2026, 11, 23, 11, 13, 45, 75101, UTC)


@pytest.mark.parametrize(
    ("agent", "accept", "profile"),
    [
        ("cordum-sdk-python/0.1.0", None, Profile.SDK),
        ("python-httpx/0.28", "*/*", Profile.PLAIN),
        ("my cordum-sdk-python/0.1.0", None, Profile.PLAIN),
        (None, "application/json; profile=openapi", Profile.SDK),
        (None, 'text/html, application/json;q=0.9;profile="openapi"', Profile.SDK),
        (None, "application/json; profile=other", Profile.PLAIN),
        (None, "text/html; profile=openapi", Profile.PLAIN),
        (None, None, Profile.PLAIN),
    ],
)
def test_the_client_is_known_by_its_name_or_its_wish(agent: str | None, accept: str | None, profile: Profile) -> None:
    assert profile_of(agent, accept) is profile


def test_every_adapter_belongs_to_a_route_and_both_find_each_other() -> None:
    served = {(route.method, route.path) for route in ROUTES}
    known = [key for key in sdk.ADAPTERS if key in served]
    assert ("GET", "/api/v1/jobs") in known and ("POST", "/api/v1/policy/evaluate") in known
    assert all(adapter_of(*key) is sdk.ADAPTERS[key] for key in known)
    assert adapter_of("GET", "/api/v1/workers") is None


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("ALLOW", "ALLOW"),
        ("DENY", "DENY"),
        ("REQUIRE_APPROVAL", "REQUIRE_APPROVAL"),
        ("THROTTLE", "DENY"),
        ("DECISION_TYPE_ALLOW", "DENY"),
        ("allow", "DENY"),
        (None, "DENY"),
    ],
)
def test_no_word_is_read_as_permission_but_allow(word: str | None, read: str) -> None:
    told = PolicyCheckResponse.from_dict(sdk.decision({"decision": word, "reason": ""}))
    assert told.decision.value == read  # type: ignore[union-attr]
    batch = sdk.decisions({"items": [{"decision": word}]})
    assert batch["items"][0]["decision"] == read


def test_jobs_have_times_as_text() -> None:
    page = sdk.jobs({"items": [{"id": "1", "state": "PENDING", "updated_at": MOMENT}], "next_cursor": 17})
    read = ListJobsResponse200.from_dict(page)
    assert read.items[0].updated_at == ISO and read.next_cursor == "17"  # type: ignore[index]
    detail = JobDetail.from_dict(sdk.job({"id": "1", "updated_at": MOMENT, "created_at": 0, "labels": {}}))
    assert detail.updated_at == ISO


def test_decisions_about_a_job_without_a_time_have_none() -> None:
    told = sdk.job_decisions([{"action": "THROTTLE", "evaluated_at": ""}])
    assert SafetyDecision.from_dict(told[0]).action.value == "THROTTLE"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("pending", "PENDING"),
        ("approved", "APPROVED"),
        ("rejected", "REJECTED"),
        ("expired", "REJECTED"),
        ("invalidated", "REJECTED"),
        ("something new", "REJECTED"),
    ],
)
def test_an_approval_says_what_became_of_it(status: str, word: str) -> None:
    body: dict[str, Any] = {
        "decision": "REQUIRE_APPROVAL",
        "approval_status": status,
        "requested_at": "",
        "decided_at": "",
        "job": {"id": "1", "updated_at": MOMENT},
    }
    read = ApprovalItem.from_dict(sdk.approvals({"items": [body], "next_cursor": None})["items"][0])
    assert read.decision.value == word and read.decided_at is None  # type: ignore[union-attr]
    assert read.job.updated_at == ISO  # type: ignore[union-attr]
    assert read.additional_properties["safety_decision"] == "REQUIRE_APPROVAL"


def test_lists_are_bare_where_it_wants_them_bare() -> None:
    letters = sdk.dead_letters({"items": [{"job_id": "1", "failed_at": "2026-11-23T11:13:45Z"}]})
    assert DLQEntry.from_dict(letters[0]).job_id == "1"
    assert [PolicySnapshot.from_dict(item).id for item in sdk.snapshots({"snapshots": ["a", "b"]})] == ["a", "b"]
    entry = {"id": "e", "timestamp": "2026-11-23T11:13:45Z"}
    assert PolicyAuditEntry.from_dict(sdk.audit({"items": [entry]})[0]).id == "e"
    rule = {"id": "r", "decision": "quarantine", "scanners": ["secret"]}
    assert OutputRule.from_dict(sdk.output_rules({"items": [rule]})[0]).action.value == "BLOCK"  # type: ignore[union-attr]


def test_bundles_are_a_list_of_summaries() -> None:
    body = {"bundles": {"secops/a": "raw"}, "items": [{"id": "secops/a", "updated_at": ""}], "updated_at": ""}
    read = ListPolicyBundlesResponse200.from_dict(sdk.bundles(body))
    assert [item.id for item in read.bundles] == ["secops/a"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("decision", "word"),
    [
        ("allow", "ALLOW"),
        ("deny", "DENY"),
        ("require_approval", "REQUIRE_APPROVAL"),
        ("throttle", "DENY"),
        ("", "DENY"),
    ],
)
def test_a_rule_has_a_word_it_knows(decision: str, word: str) -> None:
    rule = sdk.policy_rules({"items": [{"id": "r", "decision": decision, "match": {"topics": ["job.*"]}}]})["items"][0]
    assert PolicyRule.from_dict(rule).action.value == word  # type: ignore[union-attr]
