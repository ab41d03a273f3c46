"""cordumctl dlq against a real stack: the runbook's steps, in its order."""

from pathlib import Path

import pytest
from tests.support.cordumctl import Result, cordumctl

from cordum.embedded.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_runbook_step_by_step(module_stack: Stack, tmp_path: Path) -> None:
    env = {"CORDUM_API_URL": module_stack.api_url, "CORDUM_API_KEY": module_stack.secrets.admin_key}

    async def ctl(*arguments: str) -> Result:
        return await cordumctl(*arguments, env=env, cwd=tmp_path)

    for number in range(3):
        denied = ["job", "submit", f"{number}", "--topic", "job.demo.delete", "--risk-tag", "destructive"]
        assert (await ctl(*denied)).code == 1
    groups = await ctl("dlq", "triage")
    assert groups.code == 0 and "safety: denied" in groups.out and "job.demo.delete (3)" in groups.out, groups.err
    listed = (await ctl("dlq", "list", "--reason", "safety: denied", "-o", "json")).json["items"]
    assert len(listed) == 3 and (await ctl("dlq", "list", "--topic", "job.other", "-o", "json")).json["items"] == []
    first = listed[0]["job_id"]
    assert "safety_denied" in (shown := await ctl("dlq", "show", first)).out or "policy_denied" in shown.out

    nothing_named = await ctl("dlq", "retry")
    assert nothing_named.code == 2 and "triage" in nothing_named.err
    unasked = await ctl("dlq", "delete", "--reason", "safety: denied")
    assert unasked.code == 2 and "--yes" in unasked.err
    retried = await ctl("dlq", "retry", first)
    assert retried.code == 0 and f"{first}-retry-" in retried.out
    deleted = await ctl("dlq", "delete", "--reason", "safety: denied", "--all", "--yes", "--note", "known")
    assert deleted.code == 0 and "deleted" in deleted.err
    left = (await ctl("dlq", "list", "-o", "json")).json["items"]
    assert not {item["job_id"] for item in listed} & {item["job_id"] for item in left}
