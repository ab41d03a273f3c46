"""The output policy of a kernel as operators run it: from YAML to answers, with the operator's own scanners."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cordum.rpc.channel import open_channel
from cordum.rpc.gen.cordum.v1 import output_pb2, output_pb2_grpc

POLICY = """
version: v7
default_decision: allow
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: sec, match: {scanners: [secret_leak]}, decision: quarantine}
  - {id: own, match: {scanners: [badge]}, decision: deny, reason: no badges}
  - {id: pii, match: {detectors: [pii]}, decision: redact}
  - {id: big, match: {output_size_gt: 100, max_output_bytes: 50}, decision: deny}
"""
SCANNERS = """
scanners:
  badge:
    patterns: [{name: badge, regex: 'B-[0-9]{4}'}]
"""


async def ask(address: str, *contents: bytes) -> list[output_pb2.OutputCheckResponse]:
    channel = open_channel(address, None)
    stub = output_pb2_grpc.OutputPolicyServiceStub(channel)
    answers = [
        await stub.CheckOutput(output_pb2.OutputCheckRequest(topic="job.a", output_content=content), timeout=20)
        for content in contents
    ]
    await channel.close(None)
    return answers


async def test_results_are_judged_by_the_policy_in_force(
    make_kernel: Callable[..., Any], tmp_path: Path, http_get: Callable[[str], Any]
) -> None:
    scanners = tmp_path / "scanners.yaml"
    scanners.write_text(SCANNERS)
    kernel = await make_kernel(POLICY, OUTPUT_SCANNERS_PATH=str(scanners)).start()

    answers = await ask(kernel.address, b"AKIAABCDEFGHIJKLMNOP", b"see B-1234", b"to a@b.co", b"fine", b"x " * 51)

    assert [answer.rule_id for answer in answers] == ["sec", "own", "pii", "", "big"]
    assert [answer.denied for answer in answers] == [False, True, False, False, True]
    assert answers[1].reason == "no badges"
    assert answers[2].redacted_content == b"to [REDACTED]"
    assert {answer.policy_snapshot.partition(":")[0] for answer in answers} == {"v7"}

    kernel.policy.write_text(POLICY.replace("enabled: true", "enabled: false"))
    await kernel.logged("policy_loaded", 2)
    assert (await ask(kernel.address, b"AKIAABCDEFGHIJKLMNOP"))[0].decision == output_pb2.OUTPUT_DECISION_ALLOW

    kernel.policy.write_text(POLICY.replace("[badge]", "[bagde]"))
    await kernel.logged("policy_reload_failed")
    kernel.policy.write_text(POLICY.replace("scanners: [badge]", "content_patterns: ['(']"))
    await kernel.logged("policy_reload_failed", 2)
    text = (await http_get(f"{kernel.admin}/metrics")).text
    assert "cordum_safety_unknown_scanner_total 1.0" in text
    assert "cordum_safety_regex_rejected_total 1.0" in text


async def test_a_scanners_file_that_cannot_be_used_refuses_the_start(
    make_kernel: Callable[..., Any], tmp_path: Path
) -> None:
    scanners = tmp_path / "scanners.yaml"
    scanners.write_text("scanners:\n  badge:\n    patterns:\n      - {name: badge, regex: '('}\n")
    broken = make_kernel(POLICY, OUTPUT_SCANNERS_PATH=str(scanners))
    absent = make_kernel(POLICY, OUTPUT_SCANNERS_PATH=str(tmp_path / "none.yaml"))

    await broken.launch()
    assert await broken.ended() == 2
    assert "scanners.yaml: line 4, column 30: scanners.badge.patterns[0].regex: bad pattern" in broken.stderr

    await absent.launch()
    assert await absent.ended() == 2
    assert "none.yaml does not exist" in absent.stderr
