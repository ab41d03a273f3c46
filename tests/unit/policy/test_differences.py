"""What changes between two policies, and in which direction."""

import textwrap

import msgspec

from cordum.core.policy.analysis.differences import Direction, compare
from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.parse import parse_policy


def read(text: str) -> PolicyDocument:
    return parse_policy(textwrap.dedent(text).encode())


BASE = read("""
    rules:
      - {id: bad, match: {risk_tags: [bad]}, decision: deny, reason: r}
      - {id: pay, match: {topics: ["job.pay.*"]}, decision: require_approval}
      - {id: work, match: {topics: ["job.*"]}, decision: allow}
""")


def without(*names: str) -> PolicyDocument:
    return msgspec.structs.replace(BASE, rules=tuple(rule for rule in BASE.rules if rule.id not in names))


def told(before: PolicyDocument, after: PolicyDocument) -> list[tuple[str, str, str, str]]:
    return [
        (one.direction.value, str(one.request["topic"]), one.before.rule_id, one.after.rule_id)
        for one in compare(before, after).differences
    ]


def test_nothing_changes_by_itself() -> None:
    comparison = compare(BASE, BASE)
    assert comparison.differences == () and comparison.complete


def test_a_removed_denial_is_found_with_everything_it_stopped() -> None:
    comparison = compare(BASE, without("bad"))
    assert comparison.complete
    assert {one.direction for one in comparison.differences} == {Direction.RELAXED}
    assert ("bad", "work") in {(one.before.rule_id, one.after.rule_id) for one in comparison.differences}
    assert ("bad", "pay") in {(one.before.rule_id, one.after.rule_id) for one in comparison.differences}
    assert all(one.request["meta"] == {"risk_tags": ["bad"]} for one in comparison.differences)


def test_the_same_backwards_is_stricter() -> None:
    assert {direction for direction, *_ in told(without("bad"), BASE)} == {"escalated"}


def test_what_is_let_run_comes_first() -> None:
    after = read("""
        rules:
          - {id: bad, match: {risk_tags: [bad]}, decision: deny, reason: r}
          - {id: pay, match: {topics: ["job.pay.*"]}, decision: allow}
          - {id: work, match: {topics: ["job.w*"]}, decision: allow}
    """)
    found = told(BASE, after)
    assert found[0] == ("relaxed", "job.pay.a", "pay", "pay")
    assert ("escalated", "work", "") in [(direction, was, now) for direction, _, was, now in found]


def test_order_counts() -> None:
    first, *others = BASE.rules
    found = told(BASE, msgspec.structs.replace(BASE, rules=(*others, first)))
    assert {direction for direction, *_ in found} == {"relaxed"}


def test_a_tenants_list() -> None:
    after = read("""
        rules:
          - {id: bad, match: {risk_tags: [bad]}, decision: deny, reason: r}
          - {id: pay, match: {topics: ["job.pay.*"]}, decision: require_approval}
          - {id: work, match: {topics: ["job.*"]}, decision: allow}
        tenants: {acme: {deny_topics: ["job.x.*"]}}
    """)
    (found,) = compare(BASE, after).differences
    assert found.direction is Direction.ESCALATED
    assert found.request == {"topic": "job.x.a", "tenant": "acme"}


def test_an_input_rule_is_sampled_and_said_to_be() -> None:
    after = msgspec.structs.replace(
        BASE,
        input_rules=read("input_rules: [{id: kw, match: {keywords: [bomb]}, decision: deny, reason: r}]").input_rules,
    )
    comparison = compare(BASE, after)
    assert not comparison.complete
    assert ("escalated", "bomb") in [(one.direction, one.request.get("content")) for one in comparison.differences]


def test_the_same_decision_under_other_terms() -> None:
    first, pay, _ = BASE.rules
    shorter = read("""
        rules: [{id: work, match: {topics: ["job.*"]}, decision: allow, constraints: {budgets: {max_retries: 1}}}]
    """).rules[0]
    longer = msgspec.structs.replace(
        shorter, constraints=msgspec.structs.replace(shorter.constraints, redaction_level="strict")
    )
    one = msgspec.structs.replace(BASE, rules=(first, pay, shorter))
    other = msgspec.structs.replace(BASE, rules=(first, pay, longer))
    assert {direction for direction, *_ in told(one, other)} == {"terms"}


def test_no_more_than_asked_for_and_that_is_said() -> None:
    after = msgspec.structs.replace(BASE, rules=())
    comparison = compare(BASE, after, limit=1)
    assert len(comparison.differences) == 1 and not comparison.complete
