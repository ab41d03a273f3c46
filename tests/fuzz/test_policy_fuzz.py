"""Nothing an operator or a client can write breaks the policy language (bounded in time, always the same seed)."""

import asyncio
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).with_name("policy_target.py")
SECONDS = {"document": 10, "glob": 3, "request": 3}
SEEDS = {
    "document": [
        b"rules: [{id: a, match: {topics: ['job.*'], mcp: {deny_tools: [x]}}, decision: deny}]",
        b"{tier: workflow, selector: {workflow_id: w}, default_decision: allow, rules: [{velocity: {max_requests: 1,"
        b" window_seconds: 1, key: 'tenant:labels.a'}}]}",
        b"{combine: deny_overrides, input_rules: [{match: {keywords: [bomb], input_size_gt: 1}}], output_rules: [{}]}",
        b"{require_human: {min_severity_for_deny: low}, risk_tag_derivers: {job.a: {default_risk_tags: [x]}}}",
        b"rules: [{decision: require_approval, approval: {required: 2, expires_after: 1h30m}, reason: &a b}, {id: *a}]",
        b"tenants: {t: {allow_topics: ['job.[a-b]?'], mcp: {allow_tools: [y]}, max_concurrent_jobs: 5}}",
    ],
    "glob": [b"job.*.[a-z]?", b"[^a]\\*", b"a*b*c"],
    "request": [b"5\na\n1\nread\nx", b"NaN\n\n-1", b'{"safety":{"mcp":{"deny_tools":["x"]}}}', b'{"a":"x","b":[]}'],
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("target", ["document", "glob", "request"])
async def test_the_language_withstands(target: str, tmp_path: Path) -> None:
    for number, seed in enumerate(SEEDS[target]):
        (tmp_path / str(number)).write_bytes(seed)

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(TARGET),
        target,
        f"-max_total_time={SECONDS[target]}",
        "-seed=20261123",
        "-max_len=2048",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={tmp_path}/",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    assert process.returncode == 0, said.decode(errors="replace")[-4000:]
