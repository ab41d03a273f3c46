"""Without a safety kernel no published client reads permission."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio
from cordum_guard.client import CordumClient as Guard
from cordum_guard.exceptions import CordumError as GuardError
from cordum_guard.guard import guard
from cordum_sdk._generated.models.policy_check_request import PolicyCheckRequest
from cordum_sdk.auth import ApiKeyAuth
from cordum_sdk.client import CordumClient as Sdk
from cordum_sdk.errors import CordumError as SdkError
from tests.compat.conftest import TOPIC, Place, place

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def without_kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with place(tmp_path_factory.mktemp("down") / "stack") as made:
        await made.stack.take_down("kernel")
        yield made


@pytest.mark.parametrize("production", [False, True], ids=["default", "production"])
@pytest.mark.parametrize("mode", ["closed", "open"])
async def test_the_guard_never_runs_the_function(without_kernel: Place, production: bool, mode: str) -> None:
    if production and mode == "open":
        with pytest.raises(ValueError, match="fail closed"):
            Guard(without_kernel.url, without_kernel.admin, production_profile=True, on_error="open")
        return
    ran: list[int] = []

    def use() -> None:
        with Guard(
            without_kernel.url, without_kernel.admin, production_profile=production, on_error=mode, timeout=20
        ) as asking:

            def run() -> None:
                ran.append(1)

            act: Callable[[], None] = guard(asking, topic=TOPIC)(run)
            for _ in range(5):
                with pytest.raises(GuardError, match="503"):
                    act()

    await asyncio.to_thread(use)
    assert ran == []


async def test_the_sdk_raises(without_kernel: Place) -> None:
    def use() -> None:
        with Sdk(without_kernel.url, ApiKeyAuth(without_kernel.admin), tenant_id="default") as sdk:
            for ask in (sdk.policies.evaluate_policy, sdk.policies.simulate_policy, sdk.policies.explain_policy):
                with pytest.raises(SdkError):
                    ask(body=PolicyCheckRequest(topic=TOPIC))

    await asyncio.to_thread(use)


async def test_every_answer_of_a_batch_is_a_denial(without_kernel: Place) -> None:
    async with httpx.AsyncClient(base_url=without_kernel.url, trust_env=False, timeout=20) as client:
        answer = await client.post(
            "/api/v1/policy/evaluate-batch",
            json={"requests": [{"topic": TOPIC}, {"topic": "job.default"}]},
            headers={"X-API-Key": without_kernel.admin},
        )
    assert answer.status_code == 200
    assert [(item["decision"], item["code"]) for item in answer.json()["items"]] == [("DENY", "safety_unavailable")] * 2


@pytest.mark.seed("S167")
async def test_a_submitted_job_waits_and_does_not_run(without_kernel: Place) -> None:
    def use() -> str:
        with Guard(without_kernel.url, without_kernel.admin, timeout=20) as asking:
            made = asking.submit_job("hello", topic=TOPIC)
            return str(asking.get_job(made.job_id).state)

    assert await asyncio.to_thread(use) == "PENDING"
