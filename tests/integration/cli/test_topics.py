"""cordumctl topic, pool and schema against a real stack with a real worker (guide section 5, operator checks)."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from cordum.cli.main import app
from cordum.core.errors import CordumError
from cordum.embedded import demo
from cordum.embedded.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

GREETING = {"type": "object", "required": ["to"], "examples": [{"to": "Ada"}]}


@dataclass(frozen=True)
class Told:
    """What a command printed; `err` is the message it ended with."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Operator:
    """Somebody with a key and a terminal. The commands run in this process: the program's start is tested elsewhere."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self._env = {
            "CORDUM_API_URL": stack.api_url,
            "CORDUM_API_KEY": stack.secrets.admin_key,
            "CORDUM_TENANT_ID": "",
            "COLUMNS": "200",
        }
        self.directory = directory

    async def __call__(self, *arguments: str, code: int = 0) -> Told:
        result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=self._env)
        error, err = result.exception, result.stderr
        ended = result.exit_code
        if isinstance(error, CordumError):
            err, ended = err + error.message, getattr(error, "exit_code", 1)
        assert ended == code, (result.stdout, err, error)
        return Told(result.stdout, err)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def worker(module_stack: Stack) -> None:
    await module_stack.add(demo.worker)


@pytest.fixture
def ctl(module_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.chdir(tmp_path)
    return Operator(module_stack, tmp_path)


@pytest.mark.seed("S100")
async def test_topics_pools_and_schemas_from_the_terminal(ctl: Operator) -> None:
    (ctl.directory / "greeting.json").write_text(json.dumps(GREETING))
    await ctl("schema", "register", "demo/Greeting", "greeting.json")
    assert "demo/Greeting" in (await ctl("schema", "list")).out
    assert (await ctl("schema", "get", "demo/Greeting")).json == GREETING
    await ctl("pool", "create", "side-pool", "--requires", "cuda,fast", "--description", "for a test")
    made = await ctl("topic", "create", "job.test.one", "--pool", "side-pool", "--risk-tags", "low", "-o", "json")
    assert made.json["risk_tags"] == ["low"]
    await ctl("topic", "create", "job.test.one", "--input-schema", "demo/Greeting", "--output-schema", "demo/Greeting")
    row = next(line for line in (await ctl("topic", "list")).out.splitlines() if "job.test.one" in line)
    assert row.split()[:6] == ["job.test.one", "side-pool", "demo/Greeting", "demo/Greeting", "active", "0"]
    assert "side-pool" in (await ctl("topic", "get", "job.test.one")).out
    assert "no pool nowhere" in (await ctl("topic", "create", "job.x", "--pool", "nowhere", code=1)).err
    used = await ctl("schema", "delete", "demo/Greeting", code=1)
    assert "job.test.one" in used.err

    default_pool = (await ctl("topic", "get", "job.demo.greet", "-o", "json")).json["pool"]
    await ctl("pool", "map", default_pool, "job.test.one")
    await ctl("pool", "unmap", "side-pool", "job.test.one")
    assert (await ctl("topic", "get", "job.test.one", "-o", "json")).json["pool"] == default_pool
    drained = await ctl("pool", "drain", "side-pool", "--timeout", "60", "-o", "json")
    assert (drained.json["status"], drained.json["drain_timeout_seconds"]) == ("draining", 60)
    await ctl("pool", "update", "side-pool", "--status", "inactive")
    listed = (await ctl("pool", "list")).out
    assert "inactive" in next(line for line in listed.splitlines() if "side-pool" in line)
    await ctl("pool", "get", "side-pool")
    await ctl("pool", "delete", "side-pool")
    await ctl("topic", "delete", "job.test.one")
    await ctl("schema", "delete", "demo/Greeting")
    assert "job.test.one" not in (await ctl("topic", "list")).out


@pytest.mark.seed("S105")
async def test_a_smoke_test_reports_every_topic(ctl: Operator) -> None:
    (ctl.directory / "greeting.json").write_text(json.dumps(GREETING))
    await ctl("schema", "register", "smoke/Greeting", "greeting.json")
    await ctl("topic", "create", "job.demo.greet", "--input-schema", "smoke/Greeting")
    good = await ctl("topic", "smoke", "--topic", "job.demo.greet", "--json")
    [told] = good.json["topics"]
    assert good.json["passed"] and (told["topic"], told["outcome"]) == ("job.demo.greet", "SUCCEEDED")
    assert told["worker_id"] and told["job_id"]
    # The schema's own example was sent.
    job = (await ctl("job", "get", told["job_id"], "-o", "json")).json
    assert job["context"]["context"] == {"to": "Ada"} and job["labels"]["smoke"] == "true"

    # A topic nobody works on fails the run, by name, and leaves no job behind.
    await ctl("pool", "create", "empty-pool")
    await ctl("topic", "create", "job.demo.idle", "--pool", "empty-pool")
    payloads = ctl.directory / "payloads"
    payloads.mkdir()
    (payloads / "job.demo.idle.json").write_text('{"size": 1}')
    names = ("job.demo.greet", "job.demo.idle")
    bad = await ctl(
        *("topic", "smoke", "--topic", names[0], "--topic", names[1], "--payload", "payloads", "--timeout", "3"),
        *("-o", "json"),
        code=1,
    )
    trials = {trial["topic"]: trial for trial in bad.json["topics"]}
    assert trials["job.demo.greet"]["passed"] and not trials["job.demo.idle"]["passed"]
    assert trials["job.demo.idle"]["outcome"] == "PENDING" and trials["job.demo.idle"]["detail"]
    assert "job.demo.idle" in bad.err
    left = (await ctl("job", "get", trials["job.demo.idle"]["job_id"], "-o", "json")).json
    assert (left["state"], left["context"]["context"]) == ("CANCELLED", {"size": 1})
    await ctl("topic", "delete", "job.demo.idle")

    table = await ctl("topic", "smoke", "--timeout", "20", "--accept-approval", code=1)
    registered = (await ctl("topic", "list", "-o", "json")).json["items"]
    for topic in registered:
        assert topic["name"] in table.out or topic["name"].endswith("gate") or topic["status"] != "active"
    assert "not registered" in (await ctl("topic", "smoke", "--topic", "job.nobody", code=2)).err
