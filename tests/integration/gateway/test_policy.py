"""Asking the policy over HTTP, and with the published guard."""

import asyncio
from typing import Any

import httpx
import pytest
from cordum_guard.client import CordumClient
from cordum_guard.exceptions import CordumBlockedError
from cordum_guard.guard import guard
from cordum_guard.types import Decision

from .conftest import AGENT, World

QUESTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"topic": "job.default"}, "ALLOW", "yes"),
    ({"topic": "job.default", "risk_tags": ["destructive"]}, "DENY", "no-destruction"),
    ({"topic": "job.default", "meta": {"risk_tags": ["payment"]}}, "REQUIRE_APPROVAL", "ask"),
    ({"topic": "job.slow"}, "THROTTLE", "slow"),
    ({"topic": "elsewhere"}, "DENY", ""),
]


@pytest.mark.seed("S236")
async def test_three_ways_to_ask_give_one_answer(api: httpx.AsyncClient) -> None:
    for question, decision, rule in QUESTIONS:
        answers = [
            await api.post(f"/api/v1/policy/{way}", json=question) for way in ("evaluate", "simulate", "explain")
        ]
        assert {answer.status_code for answer in answers} == {200}
        told = [(answer.json()["decision"], answer.json()["rule_id"]) for answer in answers]
        assert told == [(decision, rule)] * 3
        assert len({answer.json()["policy_snapshot"] for answer in answers}) == 1
        assert all(isinstance(answer.json()["reason"], str) for answer in answers)


async def test_an_explanation_names_the_rules_that_were_tried(api: httpx.AsyncClient) -> None:
    told = (await api.post("/api/v1/policy/explain", json={"topic": "job.default", "risk_tags": ["payment"]})).json()
    assert told["trace"][-1]["rule_id"] == "ask" and told["trace"][-1]["matched"]


async def test_limits_are_an_allow_with_limits(api: httpx.AsyncClient) -> None:
    told = (await api.post("/api/v1/policy/evaluate", json={"topic": "job.bounded"})).json()
    assert (told["decision"], told["decision_type"]) == ("ALLOW", "DECISION_TYPE_ALLOW_WITH_CONSTRAINTS")
    assert told["constraints"]["budgets"]["max_runtime_ms"] == 1000


async def test_snapshots_are_listed(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/v1/policy/snapshots")).json()["snapshots"]


async def test_bad_questions_are_refused(api: httpx.AsyncClient) -> None:
    for question, status in (
        ({}, 400),
        ({"topic": 1}, 400),
        ({"topic": "job.x", "priority": "now"}, 400),
        ({"topic": "job.x", "tenant": "other"}, 403),
    ):
        assert (await api.post("/api/v1/policy/evaluate", json=question)).status_code == status


async def test_the_published_guard_never_takes_a_denial_for_an_allow(world: World) -> None:
    ran: list[str] = []

    def as_agent(production: bool) -> list[Decision]:
        with CordumClient(world.url, AGENT, production_profile=production) as client:

            def wrapped(tags: list[str], topic: str = "job.default") -> Any:
                def act() -> str:
                    ran.append(",".join(tags) or topic)
                    return "done"

                return guard(client, risk_tags=tags, topic=topic, timeout=0.5)(act)

            assert wrapped([])() == "done"
            with pytest.raises(CordumBlockedError):
                wrapped(["destructive"])()
            with pytest.raises(CordumBlockedError):
                wrapped([], "elsewhere")()
            return [
                client.evaluate_policy(topic="job.default", risk_tags=tags).decision
                for tags in ([], ["destructive"], ["payment"])
            ]

    for production in (False, True):
        decisions = await asyncio.to_thread(as_agent, production)
        assert decisions == [Decision.ALLOW, Decision.DENY, Decision.REQUIRE_APPROVAL]
    assert ran == ["job.default", "job.default"]
