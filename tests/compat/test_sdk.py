"""The published Python SDK, cordum-sdk 0.1.0."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest
from cordum_sdk._generated.api.approvals import approve_job, get_approval_context, list_approvals
from cordum_sdk._generated.api.dlq import list_dlq, list_dlq_paginated, retry_dlq_entry
from cordum_sdk._generated.api.governance import list_governance_decisions
from cordum_sdk._generated.models.policy_check_request import PolicyCheckRequest
from cordum_sdk._generated.models.policy_check_request_context import PolicyCheckRequestContext
from cordum_sdk._generated.models.policy_check_request_labels import PolicyCheckRequestLabels
from cordum_sdk._generated.models.submit_job_request import SubmitJobRequest
from cordum_sdk.auth import ApiKeyAuth
from cordum_sdk.client import CordumClient
from tests.compat.conftest import TOPIC, Place

pytestmark = pytest.mark.asyncio(loop_scope="package")


def client(here: Place, key: str = "") -> CordumClient:
    return CordumClient(here.url, ApiKeyAuth(key or here.admin), tenant_id="default")


def generated(sdk: CordumClient, module: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of the SDK that none of its namespaces has."""
    return module.sync(*args, client=sdk._generated_client, x_tenant_id="default", **kwargs)


def check(*risk_tags: str, topic: str = TOPIC, **labels: str) -> PolicyCheckRequest:
    made = PolicyCheckRequest(topic=topic, capability="c", risk_tags=list(risk_tags))
    if labels:
        made.labels = PolicyCheckRequestLabels.from_dict(labels)
    return made


@pytest.mark.seed("S236")
async def test_every_decision_is_read_as_it_was_made(here: Place) -> None:
    asked = [
        (check(), "ALLOW", "ALLOW"),
        (check("destructive"), "DENY", "DENY"),
        (check("payment"), "REQUIRE_APPROVAL", "REQUIRE_HUMAN"),
        # It knows no throttling: then it must not read permission.
        (check("bulk"), "DENY", "THROTTLE"),
        (check("bounded"), "ALLOW", "ALLOW_WITH_CONSTRAINTS"),
        (check(topic="job.unknown.thing"), "DENY", "DENY"),
        (check(team="red"), "DENY", "DENY"),
    ]

    def use() -> None:
        with client(here) as sdk:
            for body, decision, kind in asked:
                for ask in (sdk.policies.evaluate_policy, sdk.policies.simulate_policy, sdk.policies.explain_policy):
                    told = ask(body=body)
                    assert told.decision.value == decision
                    assert told.additional_properties["decision_type"] == f"DECISION_TYPE_{kind}"
                    assert isinstance(told.reason, str)
            assert told.rule_id == "red"

    await asyncio.to_thread(use)


async def test_a_context_is_part_of_the_question(here: Place) -> None:
    body = check()
    body.context = PolicyCheckRequestContext.from_dict({"note": "hello"})

    def use() -> None:
        with client(here) as sdk:
            assert sdk.policies.evaluate_policy(body=body).decision.value == "ALLOW"

    await asyncio.to_thread(use)


async def test_jobs_parse(here: Place) -> None:
    def use() -> None:
        with client(here) as sdk:
            made = sdk.jobs.submit_job(body=SubmitJobRequest(prompt="hello", topic=TOPIC))
            while (detail := sdk.jobs.get_job(made.job_id)).state not in ("SUCCEEDED", "FAILED"):
                pass
            assert detail.state == "SUCCEEDED"
            assert isinstance(detail.updated_at, datetime) and isinstance(detail.created_at, datetime)
            decisions = sdk.jobs.get_job_decisions(made.job_id)
            assert [(item.action.value, item.rule_id) for item in decisions] == [("ALLOW", "work")]
            assert isinstance(decisions[0].evaluated_at, datetime)
            for _ in range(3):
                sdk.jobs.submit_job(body=SubmitJobRequest(prompt="more", topic=TOPIC))
            page = sdk.jobs.list_jobs(limit=2)
            assert len(page.items) == 2 and isinstance(page.items[0].updated_at, datetime)
            found = [item.id for item in sdk.jobs.paginate("list_jobs", limit=2)]
            assert made.job_id in found and len(found) == len(set(found)) >= 4

    await asyncio.to_thread(use)


async def test_a_job_is_approved_through_the_sdk(here: Place) -> None:
    def use() -> None:
        with client(here) as sdk, client(here, here.approver) as deciding:
            made = sdk.jobs.submit_job(body=SubmitJobRequest(prompt="pay", topic=TOPIC, risk_tags=["payment"]))
            assert made.additional_properties["status"] == "approval_required"
            listed = generated(deciding, list_approvals)
            item = next(entry for entry in listed.items if entry.additional_properties["job_id"] == made.job_id)
            assert item.decision.value == "PENDING" and isinstance(item.requested_at, datetime)
            assert item.decided_at is None and isinstance(item.job.updated_at, datetime)
            context = generated(deciding, get_approval_context, made.job_id)
            assert context.policy_snapshot_summary is not None
            assert generated(deciding, approve_job, made.job_id, body=word()).job_id == made.job_id
            listed = generated(deciding, list_approvals)
            item = next(entry for entry in listed.items if entry.additional_properties["job_id"] == made.job_id)
            assert item.decision.value == "APPROVED" and isinstance(item.decided_at, datetime)
            while (state := sdk.jobs.get_job(made.job_id).state) not in ("SUCCEEDED", "FAILED", "DENIED"):
                pass
            assert state == "SUCCEEDED"

    await asyncio.to_thread(use)


def word() -> Any:
    from cordum_sdk._generated.models.approval_decision_request import ApprovalDecisionRequest

    return ApprovalDecisionRequest.from_dict({"reason": "fine"})


async def test_dead_letters_and_decisions_parse(here: Place, api: httpx.AsyncClient) -> None:
    refused = await api.post("/api/v1/jobs", json={"prompt": "x", "topic": TOPIC, "risk_tags": ["destructive"]})
    assert refused.status_code == 403
    job_id = refused.json()["job_id"]

    def use() -> None:
        with client(here) as sdk:
            entry = next(item for item in generated(sdk, list_dlq) if item.job_id == job_id)
            assert (entry.topic, entry.tenant) == (TOPIC, "default") and isinstance(entry.failed_at, datetime)
            paged = generated(sdk, list_dlq_paginated, limit=50)
            assert any(item.job_id == job_id for item in paged.items)
            logged = generated(sdk, list_governance_decisions, verdict="deny")
            told = next(item for item in logged.items if item.job_id == job_id)
            assert (told.matched_rule, told.reason) == ("never", "this is never done")
            retried = generated(sdk, retry_dlq_entry, job_id)
            assert retried.job_id != job_id

    await asyncio.to_thread(use)


async def test_policy_listings_parse(here: Place) -> None:
    def use() -> None:
        with client(here) as sdk:
            snapshots = sdk.policies.list_policy_snapshots()
            assert snapshots and all(item.id for item in snapshots)
            entries = sdk.policies.get_policy_audit()
            assert entries and all(isinstance(item.timestamp, datetime) for item in entries)
            bundles = sdk.policies.list_policy_bundles()
            assert isinstance(bundles.bundles, list)
            assert isinstance(sdk.policies.list_output_rules(), list)
            rules = sdk.policies.list_policy_rules()
            assert all(item.action.value for item in rules.items)
            assert isinstance(sdk.policies.list_bundle_snapshots().items, list)

    await asyncio.to_thread(use)
