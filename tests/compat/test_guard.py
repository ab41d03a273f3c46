"""The published guard, cordum-guard 2.17.0, in both of its profiles."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cordum_guard.client import CordumClient
from cordum_guard.exceptions import CordumAuthError, CordumBlockedError, CordumError
from cordum_guard.guard import guard
from cordum_guard.types import Decision
from tests.compat.conftest import TOPIC, Place

pytestmark = pytest.mark.asyncio(loop_scope="package")

both_profiles = pytest.mark.parametrize("production", [False, True], ids=["default", "production"])


def guarded(asking: CordumClient, act: Callable[[], Any], **how: Any) -> Callable[[], Any]:
    """The function as the decorator leaves it, whose types say nothing."""
    decorate: Callable[[Callable[[], Any]], Callable[[], Any]] = guard(asking, **how)
    return decorate(act)


def client(here: Place, *, production: bool = False, key: str = "") -> CordumClient:
    return CordumClient(here.url, key or here.admin, production_profile=production, timeout=20)


@pytest.mark.seed("S236")
@both_profiles
async def test_every_decision_is_read_as_it_was_made(here: Place, production: bool) -> None:
    def ask() -> None:
        with client(here, production=production) as asking:
            allowed = asking.evaluate_policy(topic=TOPIC)
            assert (allowed.decision, allowed.matched_rules) == (Decision.ALLOW, ["work"])
            denied = asking.evaluate_policy(topic=TOPIC, risk_tags=["destructive"])
            assert (denied.decision, denied.reason) == (Decision.DENY, "this is never done")
            assert denied.remediations[0]["replacement_topic"] == TOPIC
            assert denied.remediations[0]["add_labels"] == {"dry": "1"}
            waits = asking.evaluate_policy(topic=TOPIC, risk_tags=["payment"])
            assert waits.decision is Decision.REQUIRE_APPROVAL
            slow = asking.evaluate_policy(topic=TOPIC, risk_tags=["bulk"])
            assert slow.decision is Decision.THROTTLE and slow.throttle_duration_seconds > 0
            bounded = asking.evaluate_policy(topic=TOPIC, risk_tags=["bounded"])
            assert (bounded.decision, bounded.matched_rules) == (Decision.ALLOW, ["bounded"])
            assert asking.evaluate_policy(topic="job.unknown.thing").decision is Decision.DENY
            assert asking.evaluate_policy(topic="elsewhere").decision is Decision.DENY
            # The guard sends labels in meta only.
            assert asking.evaluate_policy(topic=TOPIC, labels={"team": "red"}).decision is Decision.DENY

    await asyncio.to_thread(ask)


@both_profiles
async def test_a_guarded_function_runs_only_when_it_may(here: Place, production: bool) -> None:
    ran: list[str] = []

    def act(asking: CordumClient, name: str, **how: Any) -> Callable[[], Any]:
        def acted() -> str:
            ran.append(name)
            return name

        return guarded(asking, acted, **how)

    def use() -> None:
        with client(here, production=production) as asking:
            assert act(asking, "plain", topic=TOPIC)() == "plain"
            for name, how in (
                ("denied", {"topic": TOPIC, "risk_tags": ["destructive"]}),
                ("no rule", {"topic": "job.unknown.thing"}),
                ("no job", {"topic": "elsewhere"}),
            ):
                with pytest.raises(CordumBlockedError):
                    act(asking, name, **how)()

    await asyncio.to_thread(use)
    assert ran == ["plain"]


@both_profiles
async def test_a_guarded_function_waits_for_the_approver(here: Place, production: bool) -> None:
    ran: list[str] = []

    def pay(name: str, resolve: Callable[[CordumClient, str], None]) -> BaseException | None:
        with client(here, production=production) as asking, client(here, key=here.approver) as deciding:

            def pay_out() -> None:
                ran.append(name)

            paid = guarded(asking, pay_out, policy="money", risk_tags=["payment"], capability=name, timeout=30)
            failed: list[BaseException] = []

            def run() -> None:
                try:
                    paid()
                except Exception as error:
                    failed.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            resolve(deciding, waiting_job(deciding, name))
            thread.join(30)
            assert not thread.is_alive()
            return failed[0] if failed else None

    assert await asyncio.to_thread(pay, f"approved-{production}", CordumClient.approve_job) is None
    refused = await asyncio.to_thread(pay, f"rejected-{production}", CordumClient.reject_job)
    assert isinstance(refused, CordumBlockedError)
    assert ran == [f"approved-{production}"]


def waiting_job(deciding: CordumClient, capability: str) -> str:
    """The job that waits for approval under this capability; every entry parses."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        for entry in deciding.list_approvals():
            assert entry.job_id and entry.tenant_id == "default"
            if entry.capability == capability:
                assert entry.topic == "job.guard" and entry.risk_tags == ["payment"]
                assert entry.reason == "a second person has to agree"
                return str(entry.job_id)
        time.sleep(0.05)
    raise AssertionError("the job never asked for approval")


async def test_jobs_are_submitted_followed_and_cancelled(here: Place) -> None:
    def use() -> None:
        with client(here) as asking:
            done = asking.submit_job("hello", topic=TOPIC)
            ended = asking.wait_for_decision(done.job_id, timeout=20, poll_interval=0.05)
            assert (ended.state, ended.topic, ended.tenant_id) == ("SUCCEEDED", TOPIC, "default")
            assert ended.result_ptr and ended.failure_reason == ""
            with pytest.raises(CordumAuthError, match="this is never done"):
                asking.submit_job("drop it", topic=TOPIC, risk_tags=["destructive"])
            with pytest.raises(CordumError, match="429"):
                asking.submit_job("many", topic=TOPIC, risk_tags=["bulk"])
            parked = asking.submit_job("pay", topic=TOPIC, risk_tags=["payment"])
            assert asking.get_job(parked.job_id).state == "APPROVAL_REQUIRED"
            with pytest.raises(CordumAuthError, match="self_approval_denied"):
                asking.approve_job(parked.job_id)
            asking.cancel_job(parked.job_id)
            assert asking.wait_for_decision(parked.job_id, timeout=5, poll_interval=0.05).state == "CANCELLED"

    await asyncio.to_thread(use)


async def test_what_a_guard_asked_is_audited(here: Place, api: httpx.AsyncClient) -> None:
    def ask() -> None:
        with client(here) as asking:
            asking.evaluate_policy(topic=TOPIC, capability="audited", risk_tags=["destructive"], job_id="audited-job")

    await asyncio.to_thread(ask)
    deadline = time.monotonic() + 10
    while True:
        answer = await api.get("/api/v1/policy/audit", params={"action": "policy.evaluate", "search": "audited-job"})
        if items := answer.json()["items"]:
            break
        assert time.monotonic() < deadline, "the question was not written down"
        await asyncio.sleep(0.05)
    assert (items[0]["decision"], items[0]["matched_rule"], items[0]["severity"]) == ("DENY", "never", "HIGH")
    assert (await api.get("/api/v1/audit/verify")).json()["status"] == "ok"
