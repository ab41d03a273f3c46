"""Every command against a real stack with a real worker."""

import json
import uuid
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.cordumctl import Result, cordumctl

from cordum.embedded import demo
from cordum.embedded.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSFER = ["job", "submit", "invoice", "--topic", "job.demo.transfer", "--risk-tag", "payment"]
TRANSFER_CONTEXT = ["--context", '{"amount": 5, "to": "ACME"}']


class Operator:
    """Somebody with a key and a terminal."""

    def __init__(self, stack: Stack, key: str, directory: Path) -> None:
        self._env = {"CORDUM_API_URL": stack.api_url, "CORDUM_API_KEY": key}
        self._directory = directory

    async def __call__(self, *arguments: str) -> Result:
        return await cordumctl(*arguments, env=self._env, cwd=self._directory)

    async def json(self, *arguments: str) -> dict[str, object]:
        result = await self(*arguments, "-o", "json")
        assert result.code == 0, result.err
        answer = result.json
        assert isinstance(answer, dict)
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def worker(module_stack: Stack) -> None:
    await module_stack.add(demo.worker)


@pytest.fixture
def admin(module_stack: Stack, tmp_path: Path) -> Operator:
    return Operator(module_stack, module_stack.secrets.admin_key, tmp_path)


@pytest.fixture
def approver(module_stack: Stack, tmp_path: Path) -> Operator:
    return Operator(module_stack, module_stack.secrets.approver_key, tmp_path)


async def test_a_job_submitted_with_wait_ends_with_its_output(admin: Operator) -> None:
    result = await admin("job", "submit", "Ada", "--topic", "job.demo.greet", "--wait")
    assert result.code == 0, result.err
    assert "SUCCEEDED" in result.out and "Hello, Ada!" in result.out

    job = await admin.json("job", "submit", "Bob", "--topic", "job.demo.greet", "--wait")
    assert job["state"] == "SUCCEEDED" and job["result"] == {"greeting": "Hello, Bob!", "worker": "demo-worker"}


async def test_get_list_and_watch_show_it(admin: Operator) -> None:
    submitted = await admin.json("job", "submit", "Ada", "--topic", "job.demo.greet")
    job_id = str(submitted["job_id"])

    watched = await admin("job", "watch", job_id)
    assert watched.code == 0, watched.err
    assert "SUCCEEDED" in watched.out

    assert (await admin.json("job", "get", job_id))["state"] == "SUCCEEDED"
    listed = await admin.json("job", "list", "--topic", "job.demo.greet", "--state", "succeeded")
    assert job_id in json.dumps(listed["items"])
    assert job_id in (await admin("job", "list")).out


async def test_a_denied_job_names_the_rule_and_its_reason(admin: Operator) -> None:
    result = await admin("job", "submit", "all", "--topic", "job.demo.delete", "--risk-tag", "destructive")
    assert result.code == 1 and result.out == ""
    assert "Destructive actions are not allowed" in result.err and "no-destructive-actions" in result.err


async def test_an_approval_needs_another_person(admin: Operator, approver: Operator) -> None:
    job_id = str((await admin.json(*TRANSFER, *TRANSFER_CONTEXT))["job_id"])
    assert job_id in (await approver("approval", "list")).out

    own = await admin("approval", "approve", job_id)
    assert own.code == 1 and "another person" in own.err
    assert "you are admin" in own.err and "CORDUM_API_KEYS" in own.err and "docs/guides/approvals.md" in own.err

    about = await approver("approval", "context", job_id)
    assert about.code == 0, about.err
    assert "whoever may approve" in about.out and "ACME" in about.out and "asked by" in about.out
    sound = await approver("approval", "repair", job_id)
    assert sound.code == 0 and "nothing is wrong with it" in sound.out
    assert (await approver("approval", "repair", job_id, "--apply")).code == 1
    assert (await approver("approval", "job", job_id)).code == 2

    done = await approver("approval", "approve", job_id, "--reason", "is right")
    assert done.code == 0, done.err
    job = await admin.json("job", "watch", job_id)
    assert job["result"] == {"paid": 5, "to": "ACME", "worker": "demo-worker"}
    assert job["approval_by"] == "approver"
    assert job_id not in (await approver("approval", "list")).out
    assert job_id in (await approver("approval", "list", "--resolved")).out


async def test_a_rejected_job_ends_denied_and_lies_in_the_dead_letter_queue(
    admin: Operator, approver: Operator
) -> None:
    job_id = str((await admin.json(*TRANSFER, *TRANSFER_CONTEXT))["job_id"])
    assert (await approver("approval", "reject", job_id, "--reason", "too much")).code == 0

    watched = await admin("job", "watch", job_id)
    assert watched.code == 1 and "DENIED" in watched.err
    assert job_id in (await admin("dlq", "list")).out
    deleted = await admin.json("dlq", "delete", job_id)
    assert deleted == {"job_id": job_id, "deleted": True}
    assert job_id not in json.dumps(await admin.json("dlq", "list"))


async def test_retrying_a_dead_letter_makes_a_new_job(admin: Operator, approver: Operator) -> None:
    job_id = str((await admin.json(*TRANSFER, *TRANSFER_CONTEXT))["job_id"])
    assert (await approver("approval", "reject", job_id)).code == 0
    retried = str((await admin.json("dlq", "retry", job_id))["job_id"])
    assert retried != job_id
    # The safety check is asked again: the payment waits for a person once more.
    assert (await admin.json("job", "get", retried))["state"] in ("PENDING", "APPROVAL_REQUIRED")


async def test_a_waiting_job_can_be_cancelled(admin: Operator) -> None:
    job_id = str((await admin.json("job", "submit", "nobody serves this"))["job_id"])
    cancelled = await admin.json("job", "cancel", job_id)
    assert cancelled["state"] == "CANCELLED"
    assert (await admin("job", "watch", job_id)).code == 1


async def test_waiting_too_long_says_where_the_job_stands(admin: Operator) -> None:
    result = await admin("job", "submit", "nobody serves this", "--wait", "--timeout", "1")
    assert result.code == 1 and "still PENDING" in result.err and "worker" in result.err


async def test_the_same_idempotency_key_makes_one_job(admin: Operator) -> None:
    key = uuid.uuid4().hex
    submit = ["job", "submit", "Ada", "--topic", "job.demo.greet", "--idempotency-key", key]
    assert (await admin.json(*submit))["job_id"] == (await admin.json(*submit))["job_id"]


async def test_workers_topics_and_status(admin: Operator) -> None:
    workers = (await admin.json("worker", "list"))["items"]
    assert isinstance(workers, list) and [item["worker_id"] for item in workers] == ["demo-worker"]
    assert "demo-worker" in (await admin("worker", "list")).out
    assert "job.demo.greet" in (await admin("topic", "list")).out
    status = await admin("status")
    assert status.code == 0 and "redis" in status.out and "nats" in status.out


async def test_policy_questions(admin: Operator) -> None:
    asked = ["job.demo.delete", "--risk-tag", "destructive"]
    for how in ("evaluate", "simulate", "explain"):
        answer = await admin.json("policy", how, *asked)
        assert (answer["decision"], answer["rule_id"]) == ("DENY", "no-destructive-actions")
        assert "no-destructive-actions" in (await admin("policy", how, *asked)).out


async def test_a_wrong_key_is_refused_with_a_hint(module_stack: Stack, tmp_path: Path) -> None:
    stranger = Operator(module_stack, "0" * 64, tmp_path)
    result = await stranger("job", "list", "-o", "json")
    assert result.code == 1 and result.out == "" and "HTTP 401" in result.err and "--api-key" in result.err


async def test_another_tenant_is_refused(admin: Operator) -> None:
    result = await admin("job", "list", "--tenant", "somebody-else")
    assert result.code == 1 and "HTTP 403" in result.err


@pytest.mark.parametrize("topic", ["job.unknown.topic", "no topic at all"])
async def test_a_topic_that_is_not_there(admin: Operator, topic: str) -> None:
    result = await admin("job", "submit", "x", "--topic", topic)
    assert result.code == 1 and "HTTP 400" in result.err and result.out == ""


async def test_a_job_that_is_not_there(admin: Operator) -> None:
    for command in (["job", "get"], ["job", "cancel"], ["job", "watch"], ["dlq", "retry"], ["approval", "approve"]):
        result = await admin(*command, "no/such?job")
        assert result.code == 1 and "HTTP 404" in result.err, command
