"""cordumctl policy against a real stack: what changes the policy in force, and what refuses to."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.cordumctl import Result, cordumctl

from cordum.embedded.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A rule with an id that is there already takes its place.
STRICTER = 'rules: [{id: everyday-work, match: {topics: ["job.*"]}, decision: deny, reason: Closed}]'
MILDER = "rules: [{id: no-destructive-actions, match: {risk_tags: [destructive]}, decision: allow}]"
FAILING = """\
rules:
  - {id: ours, match: {topics: [job.ours]}, decision: deny, reason: r}
tests:
  - {name: ours runs, request: {topic: job.ours}, expect: {decision: allow}}
"""


class Operator:
    def __init__(self, stack: Stack, directory: Path) -> None:
        self._env = {"CORDUM_API_URL": stack.api_url, "CORDUM_API_KEY": stack.secrets.admin_key}
        self.directory = directory

    async def __call__(self, *arguments: str) -> Result:
        return await cordumctl("policy", *arguments, env=self._env, cwd=self.directory)

    async def submit(self, *arguments: str) -> Result:
        return await cordumctl("job", "submit", "x", *arguments, env=self._env, cwd=self.directory)


@pytest.fixture
def operator(module_stack: Stack, tmp_path: Path) -> Operator:
    return Operator(module_stack, tmp_path)


async def test_bundles_are_drafts_until_published_and_gone_when_deleted(operator: Operator) -> None:
    (operator.directory / "p.yaml").write_text("rules:\n  - {id: ours, match: {topics: [job.never]}, decision: deny}\n")
    put = await operator("bundles", "put", "secops/ours", "p.yaml", "-m", "mine")
    assert put.code == 0, put.err
    assert "draft" in put.out and "missing_reason" in put.out
    listed = await operator("bundles", "list", "-o", "json")
    assert [(item["id"], item["status"]) for item in listed.json["items"]] == [("secops/ours", "draft")]
    published = await operator("publish", "--bundle", "secops/ours", "-o", "json")
    assert published.code == 0 and published.json["published"] == ["secops/ours"]
    got = await operator("bundles", "get", "secops/ours")
    assert got.out == (operator.directory / "p.yaml").read_text()
    refused = await operator("bundles", "delete", "secops/ours")
    assert refused.code == 1 and '"topic": "job.never"' in refused.err and "--acknowledge-relaxed" in refused.err
    assert (await operator("bundles", "delete", "secops/ours", "--acknowledge-relaxed")).code == 0
    missing = await operator("bundles", "get", "secops/ours")
    assert missing.code == 1 and "404" in missing.err


async def test_a_bundle_that_is_no_policy_is_shown_in_its_file(operator: Operator) -> None:
    (operator.directory / "p.yaml").write_text('rules:\n  - {id: a, match: {topics: ["job.["]}}\n')
    put = await operator("bundles", "put", "secops/bad", "p.yaml")
    assert put.code == 1
    assert "p.yaml:2:30: rules[0].match.topics[0]" in put.err and "| " in put.err and "^" in put.err


async def test_a_policy_whose_own_tests_fail_is_not_published(operator: Operator) -> None:
    (operator.directory / "p.yaml").write_text(FAILING)
    published = await operator("publish", "p.yaml", "--as", "secops/failing")
    assert published.code == 1
    assert "ours runs: decision: expected" in published.err and "cordumctl policy test" in published.err
    assert (await operator("bundles", "delete", "secops/failing")).code == 0


async def test_a_rollback_to_nowhere(operator: Operator) -> None:
    assert (await operator("rollback", "2026-01-01T00:00:00Z-0000000000")).code == 1


async def test_past_jobs_are_decided_again(operator: Operator) -> None:
    await asyncio.gather(operator.submit(), operator.submit("--risk-tag", "destructive"))
    (operator.directory / "strict.yaml").write_text(STRICTER)
    (operator.directory / "open.yaml").write_text(MILDER)

    current = await operator("replay", "--since", "1h", "-o", "json")
    assert current.code == 0 and current.json["summary"]["evaluated"] == 2, current.out

    stricter = await operator("replay", "strict.yaml", "--since", "1h", "-o", "json")
    assert stricter.code == 0, stricter.err
    assert [(one["new_rule_id"], one["direction"]) for one in stricter.json["changes"]] == [
        ("everyday-work", "escalated")
    ]

    milder = await operator("replay", "open.yaml", "--since", "1h", "--topic", "job.def*")
    assert milder.code == 1 and "relaxed" in milder.out and "no-destructive-actions" in milder.out


async def test_a_candidate_is_asked_and_compared_without_effect(operator: Operator) -> None:
    (operator.directory / "p.yaml").write_text("rules: [{id: ours, match: {topics: [job.ours]}, decision: allow}]")
    asked = await operator("simulate", "job.ours", "--with", "p.yaml", "-o", "json")
    assert (asked.json["decision"], asked.json["current"]["decision"]) == ("ALLOW", "DENY")
    compared = await operator("diff", "live", "p.yaml", "-o", "json")
    assert compared.code == 1
    assert ("relaxed", "job.ours") in [
        (one["direction"], one["request"]["topic"]) for one in compared.json["differences"]
    ]
    assert json.loads((await operator("evaluate", "job.ours", "-o", "json")).out)["decision"] == "DENY"
