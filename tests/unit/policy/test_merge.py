"""Several documents as one: what takes whose place, and that nothing is lost on the way."""

import pytest

from cordum.core.output.finding import Severity
from cordum.core.policy.compile import compile_policy
from cordum.core.policy.decision import Decision, OutputDecision
from cordum.core.policy.document import Combine, FailMode, PolicyDocument
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.merge import INVARIANTS, Fragment, merge
from cordum.core.policy.parse import parse_policy
from cordum.core.policy.request import policy_request


def merged(**documents: str) -> PolicyDocument:
    """By bundle; the base file is called `base`, the invariants `invariants`."""
    names = {"base": "", "invariants": INVARIANTS}
    return merge([Fragment(names.get(name, name), parse_policy(text.encode())) for name, text in documents.items()])


def decide(document: PolicyDocument, **labels: str) -> tuple[Decision, str]:
    outcome = evaluate(compile_policy(document), policy_request("job.x", labels=labels))
    return outcome.decision, outcome.rule_id


def test_nothing_merged_denies_everything() -> None:
    assert decide(merge([])) == (Decision.DENY, "")


def test_a_bundle_cannot_take_the_place_of_an_invariant() -> None:
    document = merged(
        invariants="rules: [{id: floor, decision: deny}]",
        later="rules: [{id: floor, decision: allow}]",
    )
    assert [(rule.id, rule.bundle, rule.invariant) for rule in document.rules] == [
        ("floor", INVARIANTS, True),
        ("later:floor", "later", False),
    ]
    assert decide(document) == (Decision.DENY, "floor")


def test_a_workflows_rule_cannot_take_the_place_of_everybodys() -> None:
    document = merged(
        base="rules: [{id: r, decision: deny}]",
        flow="{tier: workflow, selector: {workflow_id: w}, rules: [{id: r, decision: allow}]}",
    )
    assert decide(document) == (Decision.DENY, "r")
    assert decide(document, workflow_id="w") == (Decision.ALLOW, "flow:r")


def test_rules_without_a_name_never_take_each_others_place() -> None:
    document = merged(
        base="rules: [{decision: deny, match: {topics: [job.a]}}]", one="rules: [{decision: allow}]", two="rules: [{}]"
    )
    assert [rule.id for rule in document.rules] == ["rule-1", "one:rule-1", "two:rule-1"]
    named = merged(base="rules: [{decision: deny}]", one="rules: [{id: rule-1, decision: allow}]")
    assert decide(named) == (Decision.DENY, "rule-1")


def test_every_rule_knows_its_bundle() -> None:
    document = merged(base="rules: [{id: a}]", b="{rules: [{id: c}], input_rules: [{id: d}], output_rules: [{id: e}]}")

    assert [rule.bundle for rule in document.rules] == ["", "b"]
    assert document.input_rules[0].bundle == document.output_rules[0].bundle == "b"


def test_content_rules_of_the_invariants_go_first() -> None:
    document = merged(
        base="{input_rules: [{id: a}], output_rules: [{id: b, decision: allow}]}",
        invariants="{input_rules: [{id: c}], output_rules: [{id: d, decision: deny}]}",
    )
    assert [rule.id for rule in document.input_rules] == ["c", "a"]
    assert [(rule.id, rule.decision) for rule in document.output_rules] == [
        ("d", OutputDecision.DENY),
        ("b", OutputDecision.ALLOW),
    ]


def test_a_later_content_rule_takes_the_place_of_an_earlier_one() -> None:
    document = merged(
        base="input_rules: [{id: a, severity: low}, {id: b}]", x="input_rules: [{id: a, severity: critical}]"
    )
    assert [(rule.id, rule.severity) for rule in document.input_rules] == [
        ("a", Severity.CRITICAL),
        ("b", Severity.HIGH),
    ]


def test_the_first_word_counts_for_what_there_is_once() -> None:
    document = merged(
        base="{default_tenant: '', version: ''}",
        one="{default_tenant: a, version: 1, require_human: {min_confidence_for_deny: 0.1}, default_decision: allow}",
        two="{default_tenant: b, version: 2, require_human: {min_confidence_for_deny: 0.9}, default_decision: deny}",
    )
    assert (document.default_tenant, document.version) == ("a", "1")
    assert document.default_decision is Decision.ALLOW
    assert document.require_human.min_confidence_for_deny == 0.1


@pytest.mark.parametrize(
    ("one", "two", "enabled", "mode", "limit"),
    [
        ("", "", True, FailMode.CLOSED, 2097152),
        ("enabled: false", "", False, FailMode.CLOSED, 2097152),
        ("enabled: false", "enabled: true", True, FailMode.CLOSED, 2097152),
        ("fail_mode: open", "fail_mode: closed", True, FailMode.CLOSED, 2097152),
        ("fail_mode: open", "max_scan_bytes: 5", True, FailMode.OPEN, 5),
        ("max_scan_bytes: 9", "max_scan_bytes: 5", True, FailMode.CLOSED, 5),
    ],
)
def test_of_the_settings_for_input_the_stricter_holds(
    one: str, two: str, enabled: bool, mode: FailMode, limit: int
) -> None:
    policy = merged(a=f"input_policy: {{{one}}}", b=f"input_policy: {{{two}}}").input_policy

    assert (policy.enabled, policy.fail_mode, policy.max_scan_bytes) == (enabled, mode, limit)


def test_what_bounds_tenants_is_joined() -> None:
    document = merged(
        a="tenants: {Acme: {deny_topics: [job.a], mcp: {deny_tools: [x]}, denied_repo_hosts: [a.example]}}",
        b="tenants: {acme: {deny_topics: [job.b, job.a], mcp: {deny_tools: [y]}, max_concurrent_jobs: 3}}",
    )
    (acme,) = document.tenants.values()
    assert acme.deny_topics == ("job.a", "job.b")
    assert acme.mcp.deny_tools == ("x", "y")
    assert acme.denied_repo_hosts == ("a.example",)
    assert acme.max_concurrent_jobs == 3


def test_one_strict_document_makes_all_of_it_strict() -> None:
    assert merged(a="combine: first_match", b="combine: deny_overrides").combine is Combine.DENY_OVERRIDES
    assert merged(a="{}", b="{}").combine is Combine.FIRST_MATCH


def test_tests_and_derivers_are_kept() -> None:
    document = merged(
        a="{tests: [{name: one}], risk_tag_derivers: {job.a: {default_risk_tags: [x]}}}",
        b="{tests: [{name: two}],"
        " risk_tag_derivers: {job.a: {default_risk_tags: [y]}, job.b: {default_risk_tags: [z]}}}",
    )
    assert [test.name for test in document.tests] == ["one", "two"]
    assert {topic: deriver.default_risk_tags for topic, deriver in document.risk_tag_derivers.items()} == {
        "job.a": ("y",),
        "job.b": ("z",),
    }
