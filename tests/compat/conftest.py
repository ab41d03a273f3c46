"""A real stack with a worker, for the published clients to talk to.

The clients block, as they do for their users: what a test does with one runs in a thread beside the event loop.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.conftest import NO_RATE_LIMITS

from cordum.embedded.child import Recipe
from cordum.embedded.datadir import DataDir
from cordum.embedded.stack import Options, Stack

TOPIC = "job.acc.echo"
POLICY = """
version: "1"
default_decision: deny
rules:
  - id: never
    match: {risk_tags: [destructive]}
    decision: deny
    reason: this is never done
    remediations:
      - {id: dry, title: Dry run, summary: try it, replacement_topic: job.acc.echo, add_labels: {dry: "1"}}
  - {id: red, match: {labels: {team: red}}, decision: deny, reason: not for the red team}
  - {id: slow, match: {risk_tags: [bulk]}, decision: throttle, reason: later}
  - {id: ask, match: {risk_tags: [payment]}, decision: require_approval, reason: a second person has to agree}
  - id: bounded
    match: {risk_tags: [bounded]}
    decision: allow_with_constraints
    constraints: {budgets: {max_runtime_ms: 60000}}
  - {id: work, match: {topics: ["job.acc.*", job.guard, job.default]}, decision: allow}
"""
POOLS = """
topics: {job.acc.echo: default, job.default: default}
pools: {default: {description: everybody}}
"""
AGENT = "compat-agent-key-0123456789abcdef0123456789"
VIEWER = "compat-viewer-key-0123456789abcdef012345678"


class Place:
    """A stack, and the keys to it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = stack.api_url
        self.admin = stack.secrets.admin_key
        self.approver = stack.secrets.approver_key


@asynccontextmanager
async def place(directory: Path) -> AsyncIterator[Place]:
    """Starts a stack with one worker that is online."""
    data = DataDir(directory)
    data.config.mkdir(parents=True, exist_ok=True)
    for name, text in (("safety.yaml", POLICY), ("pools.yaml", POOLS)):
        (data.config / name).write_text(text)

    async def started() -> bool:
        return True

    def worker(stack: Stack) -> Recipe:
        return Recipe(
            name="worker",
            command=[sys.executable, "-P", str(Path(__file__).parents[1] / "acceptance" / "agent.py")],
            env={**stack.base_env, **stack.worker_env, "WORKER_ID": "worker"},
            probe=started,
            log_file=stack.data_dir.log_file("worker"),
            directory=stack.data_dir.path,
            grace=5.0,
        )

    options = Options(default_ports=False, service_env={"gateway": NO_RATE_LIMITS})
    async with Stack(data, options) as stack:
        await stack.add(worker)
        yield Place(stack)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """The stack all these tests share."""
    async with place(tmp_path_factory.mktemp("compat") / "stack") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="package")
async def api(here: Place) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client with the administrator's key."""
    async with httpx.AsyncClient(
        base_url=here.url, headers={"X-API-Key": here.admin}, trust_env=False, timeout=20
    ) as client:
        yield client
