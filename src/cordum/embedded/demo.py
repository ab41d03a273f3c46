"""The demo: three jobs through a stack of its own, each with another verdict.

Everything goes the public way: jobs and the approval over HTTP with the two principals' keys, the work through a
worker that is an ordinary CAP agent in its own process.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from cordum.embedded import demo_job
from cordum.embedded.child import Recipe
from cordum.embedded.errors import EmbeddedError
from cordum.embedded.stack import Stack

WORKER = "worker"
_WORKER_ID = "demo-worker"
_WITHIN = 15.0
"""Seconds each step may take at most; on an ordinary machine it takes milliseconds."""

Json = dict[str, Any]
"""A JSON object of the API."""
Tell = Callable[[str], None]


class DemoError(EmbeddedError):
    """A step of the demo did not happen."""

    code = "demo_failed"

    def __init__(self, step: str, expected: str, seen: str) -> None:
        self.step = step
        super().__init__(f"{step}: expected {expected}, saw {seen}")


@dataclass
class Outcome:
    """What became of one job. Times are milliseconds since it was submitted."""

    title: str
    job_id: str = ""
    verdict: str = ""
    rule: str = ""
    reason: str = ""
    state: str = ""
    output: str = ""
    steps: list[tuple[str, float]] = field(default_factory=list)
    """What happened, and when."""


def worker(stack: Stack) -> Recipe:
    """The demo's worker as a child of the stack; ready as it runs, because only the API knows if it is online."""

    async def started() -> bool:
        return True

    return Recipe(
        name=WORKER,
        command=[sys.executable, "-P", "-m", "cordum.embedded.demo_worker"],
        env={**stack.base_env, **stack.worker_env, "PYTHONUNBUFFERED": "1"},
        probe=started,
        log_file=stack.data_dir.log_file(WORKER),
        directory=stack.data_dir.path,
        grace=5.0,
    )


class Demo:
    """The steps, one after the other; each raises DemoError when it does not happen."""

    def __init__(self, stack: Stack, tell: Tell) -> None:
        self._stack = stack
        self._tell = tell
        self._admin = self._client(stack.secrets.admin_key)
        self._approver = self._client(stack.secrets.approver_key)

    async def run(self) -> list[Outcome]:
        """Waits for the worker and runs the three jobs."""
        try:
            await self._worker_online()
            return [await self._allowed(), await self._denied(), await self._approved()]
        except httpx.HTTPError as error:
            raise DemoError("calling the API", "an answer", f"{type(error).__name__} {error}".strip()) from error
        finally:
            await self._admin.aclose()
            await self._approver.aclose()

    async def _worker_online(self) -> None:
        began = time.monotonic()
        seen = "no worker"
        while time.monotonic() - began < _WITHIN:
            answer = await self._call(self._admin, "GET", "/workers")
            workers = {str(item.get("worker_id")): item for item in answer.get("items", [])}
            if workers.get(_WORKER_ID, {}).get("online"):
                self._tell(f"worker {_WORKER_ID} is online after {(time.monotonic() - began) * 1000:.0f} ms")
                return
            seen = f"workers {sorted(workers) or 'none'}"
            await asyncio.sleep(0.05)
        raise DemoError("waiting for the worker", f"{_WORKER_ID} online within {_WITHIN:.0f} s", seen)

    async def _allowed(self) -> Outcome:
        told = demo_job.GREET
        outcome, clock = Outcome(told.title), Clock()
        outcome.job_id = await self._submit(told, expect=200)
        outcome.steps.append(("submitted", clock.ms()))
        job = await self._ended(told, outcome.job_id, "SUCCEEDED")
        outcome.steps.append(("SUCCEEDED", clock.ms()))
        return self._judge(told, outcome, job, job)

    async def _denied(self) -> Outcome:
        told = demo_job.DELETE
        outcome, clock = Outcome(told.title), Clock()
        outcome.job_id = await self._submit(told, expect=403)
        outcome.steps.append(("refused", clock.ms()))
        job = await self._ended(told, outcome.job_id, "DENIED")
        return self._judge(told, outcome, job, job)

    async def _approved(self) -> Outcome:
        told = demo_job.TRANSFER
        outcome, clock = Outcome(told.title), Clock()
        outcome.job_id = await self._submit(told, expect=200)
        outcome.steps.append(("submitted", clock.ms()))
        waiting = await self._call(self._admin, "GET", f"/jobs/{outcome.job_id}")
        if waiting.get("state") != "APPROVAL_REQUIRED":
            raise DemoError(told.title, "state APPROVAL_REQUIRED", str(waiting.get("state")))
        path = f"/approvals/{outcome.job_id}/approve"
        refused = await self._approve_own(path)
        if refused != 403:
            raise DemoError(f"{told.title}: admin approves the own job", "HTTP 403", f"HTTP {refused}")
        await self._call(self._approver, "POST", path, {"reason": "the invoice is right"})
        outcome.steps.append(("approved", clock.ms()))
        job = await self._ended(told, outcome.job_id, "SUCCEEDED")
        outcome.steps.append(("SUCCEEDED", clock.ms()))
        # An approved job is decided once more before it runs; the verdict shown is the one a person had to answer.
        return self._judge(told, outcome, waiting, job)

    async def _approve_own(self, path: str) -> int:
        answer = await self._admin.post(f"/api/v1{path}", json={})
        return answer.status_code

    async def _submit(self, told: demo_job.DemoJob, expect: int) -> str:
        answer = await self._admin.post("/api/v1/jobs", json=told.request)
        body = _object(answer)
        job_id = body.get("job_id")
        if answer.status_code != expect or not isinstance(job_id, str) or not job_id:
            seen = f"HTTP {answer.status_code} {answer.text[:300]}"
            raise DemoError(f"{told.title}: POST /api/v1/jobs", f"HTTP {expect} with a job_id", seen)
        return job_id

    async def _ended(self, told: demo_job.DemoJob, job_id: str, state: str) -> Json:
        """The job once it has ended in `state`."""
        deadline = time.monotonic() + _WITHIN
        while True:
            left = max(0.1, deadline - time.monotonic())
            job = await self._call(self._admin, "GET", f"/jobs/{job_id}?wait={left:.1f}s")
            if job.get("state") == state:
                return job
            if job.get("state") in demo_job.ENDED or time.monotonic() > deadline:
                why = (
                    job.get("error_message")
                    or job.get("pending_reason")
                    or job.get("safety_reason")
                    or "no reason given"
                )
                raise DemoError(told.title, f"state {state} within {_WITHIN:.0f} s", f"{job.get('state')} ({why})")
            await asyncio.sleep(0.02)

    def _judge(self, told: demo_job.DemoJob, outcome: Outcome, decided: Json, ended: Json) -> Outcome:
        """Takes over what the API said about the job when it was decided and when it had ended, and checks it."""
        outcome.verdict = str(decided.get("safety_decision") or "")
        outcome.rule = str(decided.get("safety_rule_id") or "")
        outcome.reason = str(decided.get("safety_reason") or "")
        outcome.state = str(ended.get("state") or "")
        # A job that did not succeed shows why in place of a result.
        result = ended.get("result") if outcome.state == "SUCCEEDED" else None
        shown = result if isinstance(result, dict) else {}
        outcome.output = ", ".join(f"{key}: {value}" for key, value in shown.items() if key != "worker")
        for what, expected, seen in (
            ("verdict", told.verdict, outcome.verdict),
            ("rule", told.rule, outcome.rule),
            ("output", told.output, result if isinstance(result, dict) else None),
        ):
            if expected != seen:
                raise DemoError(f"{told.title}: its {what}", str(expected), str(seen))
        if told.verdict == "DENY" and not outcome.reason:
            raise DemoError(f"{told.title}: its reason", "the reason of the rule", "none")
        return outcome

    def _client(self, key: str) -> httpx.AsyncClient:
        timeout = httpx.Timeout(_WITHIN + 5.0, connect=5.0)
        headers = {"X-API-Key": key}
        return httpx.AsyncClient(base_url=self._stack.api_url, headers=headers, timeout=timeout, trust_env=False)

    async def _call(
        self, client: httpx.AsyncClient, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> Json:
        answer = await client.request(method, f"/api/v1{path}", json=body)
        if not answer.is_success:
            raise DemoError(f"{method} {path}", "success", f"HTTP {answer.status_code} {answer.text[:300]}")
        return _object(answer)


class Clock:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def ms(self) -> float:
        return (time.monotonic() - self._began) * 1000


def _object(answer: httpx.Response) -> Json:
    try:
        data = answer.json()
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
