"""Input rules: how criteria combine, what cannot be looked at, and when a denial becomes a question."""

import textwrap
from typing import Any

import pytest

from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.merge import INVARIANTS, Fragment, merge
from cordum.core.policy.outcome import DecidedBy
from cordum.core.policy.parse import parse_policy
from cordum.core.policy.request import policy_request

ALLOW, AWC, DENY = Decision.ALLOW, Decision.ALLOW_WITH_CONSTRAINTS, Decision.DENY
APPROVAL, THROTTLE = Decision.REQUIRE_APPROVAL, Decision.THROTTLE


def policy(text: str) -> CompiledPolicy:
    return compile_policy(parse_policy(textwrap.dedent(text).encode()))


def ask(on: CompiledPolicy, **fields: Any) -> tuple[Decision, str]:
    outcome = evaluate(on, policy_request(fields.pop("topic", "job.x"), **fields))
    return outcome.decision, outcome.rule_id


def one(match: str, more: str = "") -> CompiledPolicy:
    return policy(f"{{default_decision: allow, {more} input_rules: [{{id: i, match: {{{match}}}, decision: deny}}]}}")


@pytest.mark.parametrize(
    ("fields", "decision"),
    [
        ({"content": b"bomb AKIAABCDEFGHIJKLMNOP"}, DENY),
        ({"content": b"bomb"}, ALLOW),
        ({"content": b"AKIAABCDEFGHIJKLMNOP"}, ALLOW),
        # What one part has and what the other has count together.
        ({"content": b"AKIAABCDEFGHIJKLMNOP", "labels": {"_content.prompt": "a bomb"}}, DENY),
    ],
)
def test_every_criterion_that_is_given_must_hold(fields: dict[str, Any], decision: Decision) -> None:
    assert ask(one("keywords: [bomb], scanners: [secret]"), **fields)[0] is decision


def test_a_size_limit_does_not_switch_the_other_criteria_off() -> None:
    on = one("keywords: [bomb], input_size_gt: 10")

    assert ask(on, content=b"x" * 50)[0] is ALLOW
    assert ask(on, content=b"a bomb")[0] is ALLOW
    assert ask(on, content=b"a bomb" + b"x" * 50)[0] is DENY


def test_without_content_rules_about_content_do_not_match_and_others_do() -> None:
    assert ask(one("keywords: [bomb]"), content_size=50)[0] is ALLOW
    assert ask(one("topics: [job.x]"))[0] is DENY
    assert ask(one("topics: [job.y]"))[0] is ALLOW


@pytest.mark.parametrize(
    ("match", "fields", "decision"),
    [
        ("content_types: [text/HTML]", {"content_type": "Text/html; charset=utf-8"}, DENY),
        ("content_types: [text/html]", {"content_type": "text/plain"}, ALLOW),
        ("content_types: [text/html]", {}, ALLOW),
        ("risk_tags: [finance]", {"risk_tags": ["Finance"]}, DENY),
        ("capabilities: [pay]", {"capability": "PAY"}, DENY),
        ("tenants: [acme]", {"tenant": "other"}, ALLOW),
    ],
)
def test_metadata(match: str, fields: dict[str, Any], decision: Decision) -> None:
    assert ask(one(match), **fields)[0] is decision


@pytest.mark.parametrize(
    ("settings", "content", "size", "decision"),
    [
        ("max_scan_bytes: 10", b"x" * 10, 0, ALLOW),
        ("max_scan_bytes: 10", b"x" * 11, 0, DENY),
        ("max_scan_bytes: 10, fail_mode: open", b"x" * 11, 0, ALLOW),
        ("max_scan_bytes: 10, fail_mode: open", b"bomb" + b"x" * 11, 0, DENY),
        # The caller had more than it sent.
        ("fail_mode: closed", b"x" * 10, 11, DENY),
        ("fail_mode: open", b"x" * 10, 11, ALLOW),
        ("enabled: false", b"a bomb", 0, ALLOW),
    ],
)
def test_content_that_is_not_looked_at_to_its_end_counts_as_a_hit_unless_the_policy_fails_open(
    settings: str, content: bytes, size: int, decision: Decision
) -> None:
    on = one("keywords: [bomb]", f"input_policy: {{{settings}}},")

    assert ask(on, content=content, content_size=size)[0] is decision


def test_a_rule_that_only_asks_for_size_needs_no_whole_content() -> None:
    on = one("input_size_gt: 100", "input_policy: {max_scan_bytes: 10},")

    assert ask(on, content=b"x" * 50)[0] is ALLOW


def test_a_disabled_rule_does_nothing() -> None:
    on = policy("{default_decision: allow, input_rules: [{id: i, enabled: false}]}")

    assert ask(on)[0] is ALLOW


def test_input_rules_only_tighten() -> None:
    on = policy("""
        rules:
          - {id: slow, match: {topics: [job.slow]}, decision: throttle}
          - {id: no, match: {topics: [job.no]}, decision: deny}
          - {id: ok, decision: allow, constraints: {budgets: {max_retries: 1}}}
        input_rules: [{id: ask, match: {keywords: [bomb]}, decision: require_approval, reason: why}]
    """)

    assert ask(on, topic="job.slow", content=b"bomb") == (THROTTLE, "slow")
    assert ask(on, topic="job.no", content=b"bomb") == (DENY, "no")
    outcome = evaluate(on, policy_request("job.x", content=b"bomb"))
    assert (outcome.decision, outcome.rule_id, outcome.decided_by) == (APPROVAL, "ask", DecidedBy.INPUT_RULE)
    assert outcome.reason == "why: keyword matched: bomb"
    # Once approved the job runs, and then within the limits of the rule that let it.
    assert outcome.constraints.budgets.max_retries == 1


def test_the_first_input_rule_counts_or_the_strictest_where_the_policy_says_so() -> None:
    text = """
        default_decision: allow
        combine: {combine}
        input_rules:
          - {{id: ask, match: {{keywords: [bomb]}}, decision: require_approval}}
          - {{id: no, match: {{keywords: [bomb]}}, decision: deny}}
    """
    assert ask(policy(text.format(combine="first_match")), content=b"bomb") == (APPROVAL, "ask")
    assert ask(policy(text.format(combine="deny_overrides")), content=b"bomb") == (DENY, "no")


def test_an_invariant_neither_hides_another_rule_nor_is_hidden() -> None:
    def document(decision: str, id_: str) -> Fragment:
        rule = f"{{id: {id_}, match: {{keywords: [bomb]}}, decision: {decision}}}"
        text = f"{{default_decision: allow, input_rules: [{rule}]}}"
        return Fragment(INVARIANTS if id_ == "i" else "", parse_policy(text.encode()))

    for own, invariant, expected in (
        ("deny", "require_approval", (DENY, "o")),
        ("require_approval", "deny", (DENY, "i")),
    ):
        merged = merge([document(own, "o"), document(invariant, "i")])
        assert ask(compile_policy(merged), content=b"bomb") == expected


@pytest.mark.parametrize(
    ("human", "fields", "decision"),
    [
        ("min_severity_for_deny: high", {"content": b"bomb"}, APPROVAL),
        ("min_severity_for_deny: medium", {"content": b"bomb"}, DENY),
        # A harmless finding beside a grave one makes the grave one no milder.
        ("min_severity_for_deny: high", {"content": b"bomb AKIAABCDEFGHIJKLMNOP"}, DENY),
        ("min_confidence_for_deny: 1", {"content": b"AKIAABCDEFGHIJKLMNOP"}, APPROVAL),
        ("min_confidence_for_deny: 0.9", {"content": b"AKIAABCDEFGHIJKLMNOP"}, DENY),
        ("downgrade_when_prompt_only: true", {"content": b"bomb"}, APPROVAL),
        (
            "downgrade_when_prompt_only: true",
            {"content": b"bomb", "labels": {"_action.descriptor_json": "{}"}},
            DENY,
        ),
    ],
)
def test_a_denial_becomes_a_question_where_the_policy_says_so(
    human: str, fields: dict[str, Any], decision: Decision
) -> None:
    on = policy(f"""
        default_decision: allow
        require_human: {{{human}}}
        input_rules:
          - {{id: s, match: {{scanners: [secret]}}, decision: deny}}
          - {{id: i, severity: medium, match: {{keywords: [bomb]}}, decision: deny}}
    """)

    assert ask(on, **fields)[0] is decision


def test_an_invariants_denial_is_never_made_milder() -> None:
    text = "{default_decision: allow, require_human: {downgrade_when_prompt_only: true}, input_rules: [{id: i}]}"
    merged = merge([Fragment(INVARIANTS, parse_policy(text.encode()))])

    assert ask(compile_policy(merged)) == (DENY, "i")


def test_a_policy_says_whether_it_reads_content() -> None:
    assert one("keywords: [bomb]").reads_content
    assert not one("input_size_gt: 5").reads_content
    assert not policy("rules: []").reads_content
