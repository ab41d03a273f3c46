"""Tests that travel with a policy, and what they reach."""

import textwrap

import pytest

from cordum.core.policy.analysis.requests import BadRequestError, request_from_dict
from cordum.core.policy.analysis.testing import TestReport, run_tests
from cordum.core.policy.document import PolicyTest
from cordum.core.policy.parse import parse_policy

POLICY = parse_policy(
    textwrap.dedent("""
        rules:
          - {id: bad, match: {topics: ["job.*"], risk_tags: [bad]}, decision: deny, reason: Too dangerous}
          - {id: pay, match: {topics: ["job.pay"]}, decision: require_approval}
          - {id: work, match: {topics: ["job.w.*"]}, decision: allow, constraints: {budgets: {max_retries: 1}}}
        tests:
          - {name: works, request: {topic: job.w.a}, expect: {decision: allow, rule_id: work}}
          - {name: waits, request: {topic: job.pay}, expect: {decision: require_approval, approval_required: true}}
    """).encode()
)


def run(request: dict[str, object], expect: dict[str, object]) -> TestReport:
    return run_tests(POLICY, [PolicyTest(name="one", request=request, expect=expect)])


def test_the_tests_in_the_document_are_run() -> None:
    report = run_tests(POLICY)
    assert report.passed and [result.name for result in report.results] == ["works", "waits"]


def test_coverage_says_which_rules_decided_and_which_conditions_were_seen_from_one_side() -> None:
    report = run_tests(POLICY)
    assert {rule.rule_id: rule.hits for rule in report.coverage} == {"bad": 0, "pay": 1, "work": 1}
    assert report.missed == ("bad",)
    assert report.coverage[0].one_sided == ("topics", "risk_tags")
    assert report.coverage[1].one_sided == ()


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ({"decision": "deny"}, 'decision: expected "deny", got "allow_with_constraints"'),
        ({"decision": "throttle"}, 'decision: expected "throttle"'),
        ({"decision": "nonsense"}, 'decision: expected "nonsense"'),
        ({"rule_id": "bad"}, 'rule_id: expected "bad", got "work"'),
        ({"reason": "because"}, 'reason: expected "because"'),
        ({"approval_required": True}, "approval_required: expected true, got false"),
        ({"decided_by": "default"}, 'decided_by: expected "default", got "rule"'),
        ({"decison": "allow"}, 'cannot expect "decison"'),
        ({}, "expects nothing"),
    ],
)
def test_what_is_not_as_expected_fails_with_both(expect: dict[str, object], problem: str) -> None:
    report = run({"topic": "job.w.a"}, expect)
    assert not report.passed and problem in report.results[0].problems[0]


@pytest.mark.parametrize("expect", [{"decision": "permit"}, {"decision": "ALLOW_WITH_CONSTRAINTS"}])
def test_an_allow_may_have_constraints(expect: dict[str, object]) -> None:
    assert run({"topic": "job.w.a"}, expect).passed


@pytest.mark.parametrize(
    "request_",
    [
        {"topics": "job.a"},
        {"topic": 5},
        {"topic": "job.a", "meta": {"risktags": []}},
        {"topic": "job.a", "labels": {"n": 5}},
    ],
)
def test_a_request_that_is_none_fails_its_test(request_: dict[str, object]) -> None:
    report = run(request_, {"decision": "deny"})
    assert not report.passed and report.results[0].problems[0].startswith("request: ")
    with pytest.raises(BadRequestError):
        request_from_dict(request_)


def test_a_request_is_read_as_the_gateway_reads_it() -> None:
    read = request_from_dict(
        {
            "topic": "job.a",
            "org_id": "ACME",
            "workflow_id": "w",
            "labels": {"a": "1"},
            "principal_id": "Alice",
            "capability": "X",
            "risk_tags": ["R"],
            "meta": {"labels": {"a": "2", "b": "3"}, "actor_type": "human"},
        }
    )
    assert (read.tenant, read.actor_id, read.actor_type, read.capability) == ("acme", "alice", "human", "x")
    assert read.labels == {"a": "1", "b": "3", "workflow_id": "w"} and read.risk_tags == {"r"}
